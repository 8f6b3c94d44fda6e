package startd

import (
	"skua/agent/slot"
	"skua/policy"
	"skua/policy/classad"
)

// Verdicts is what a policy says of a slot with that ad and of a job, nil for none: now and, if somebody
// watches the keyboard, if the owner touched a key.
func Verdicts(rules *policy.Policy, ad, job *classad.Ad, watched bool) slot.Verdicts {
	v := rules.Verdicts(ad, job)
	verdicts := slot.Verdicts{
		Start: v.Start, Open: rules.Open(ad), Suspend: v.Suspend, Continue: v.Continue, Preempt: v.Preempt, Kill: v.Kill,
		WantSuspend: v.WantSuspend, WantVacate: v.WantVacate,
		Throttle: v.Throttle, Draining: v.Draining, Retirement: v.Retirement,
	}
	if !watched {
		return verdicts
	}
	touched := classad.NewAd()
	touched.SetParent(ad)
	touched.SetInt("KeyboardIdle", 0)
	touched.SetInt("ConsoleIdle", 0)
	ahead := rules.Verdicts(touched, job)
	mustLeave := !ahead.WantSuspend && ahead.Preempt
	verdicts.Armed = ahead.WantSuspend && ahead.Suspend || mustLeave && (ahead.Suspend || ahead.Retirement == 0)
	verdicts.Slows = ahead.Throttle
	return verdicts
}
