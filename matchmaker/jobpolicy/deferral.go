package jobpolicy

import (
	"cmp"
	"fmt"
	"time"

	"skua/policy/classad"
)

const (
	attrDeferralTime   = "DeferralTime"
	attrDeferralWindow = "DeferralWindow"
	attrDeferralPrep   = "DeferralPrepTime"
)

// Startable says whether a job may be offered to a machine now, as far as its deferral is concerned. If not, from is
// when it may be, zero if never, and why says so. A job is offered DeferralPrepTime (300 s) ahead of its
// DeferralTime, so that its machine has its files by then; the agent starts it at the time.
func Startable(ad *classad.Ad, now time.Time) (ok bool, from time.Time, why string) {
	earliest, latest, deferred := window(ad)
	switch {
	case !deferred:
		if why := cmp.Or(noTime(ad), never(ad, now)); why != "" {
			return false, time.Time{}, why
		}
		return true, time.Time{}, ""
	case now.After(latest):
		return false, time.Time{}, missed(ad)
	case now.Before(earliest):
		return false, earliest, "it is deferred"
	}
	return true, earliest, ""
}

// window is the time in which a deferred job may be offered. ok is false for one that is not deferred.
func window(ad *classad.Ad) (earliest, latest time.Time, ok bool) {
	const longest = 1 << 40 // seconds; beyond, times overflow
	at, ok := ad.Int(attrDeferralTime)
	if !ok || at < 0 || at > longest {
		return time.Time{}, time.Time{}, false
	}
	prep, ok := ad.Int(attrDeferralPrep)
	if !ok || prep < 0 {
		prep = 300
	}
	wait, ok := ad.Int(attrDeferralWindow)
	if !ok || wait < 0 {
		wait = 0
	}
	return time.Unix(at-min(prep, at), 0), time.Unix(at+min(wait, longest), 0), true
}

// noTime says what is wrong with the deferral_time of a job that [window] finds none in; "" if it has none, or a plain
// undefined, which takes it away.
func noTime(ad *classad.Ad) string {
	e, ok := ad.Lookup(attrDeferralTime)
	if !ok {
		return ""
	}
	if v, constant := e.Literal(); constant && v.Kind() == classad.Undefined {
		return ""
	}
	return "its deferral_time is not a time: " + shorten(e.OldString())
}

func missed(ad *classad.Ad) string {
	at, _ := ad.Int(attrDeferralTime)
	wait, _ := ad.Int(attrDeferralWindow)
	return fmt.Sprintf("no machine could start the job at its deferral_time %d (%s UTC), nor within its deferral_window of %d s after it",
		at, time.Unix(at, 0).UTC().Format("2006-01-02 15:04:05"), wait)
}
