package startd

import (
	"context"
	"slices"
	"time"

	"skua/agent/slot"
	"skua/policy/classad"
)

// Conditions are what changes about the machine while it is on, apart from the owner's input.
type Conditions interface {
	// Run looks until ctx ends, and calls changed when a policy may have another view of the machine.
	Run(ctx context.Context, changed func()) error
	LookFirst(ctx context.Context)                   // at all that needs no waiting, before Run
	LookAtPower(now time.Time, within time.Duration) // unless that was done within so long
	Busy(busy bool)                                  // whether a job is here
	SetApps(apps []string)                           // the programs to look for, in lower case, which is done at once
	OnBattery() bool                                 // as far as is known
	Set(ad *classad.Ad)
}

// Probes are programs of the administrator's that tell attributes of the machine.
type Probes interface {
	Run(ctx context.Context, changed func()) error
	Ad() *classad.Ad
}

// offerPower is how old the news about the power supply may be when a job is taken.
const offerPower = 5 * time.Second

// noConditions is a machine of which nothing changes.
type noConditions struct{}

func (noConditions) Run(ctx context.Context, _ func()) error { return nil }
func (noConditions) LookFirst(context.Context)               {}
func (noConditions) LookAtPower(time.Time, time.Duration)    {}
func (noConditions) Busy(bool)                               {}
func (noConditions) SetApps([]string)                        {}
func (noConditions) OnBattery() bool                         { return false }
func (noConditions) Set(*classad.Ad)                         {}

// occupied reports whether a slot has a claim, whose job runs or may go on any moment.
func occupied(s slot.Slot) bool { return s.State == slot.Claimed || s.State == slot.Preempting }

// busy reports whether any slot is occupied.
func (d *Daemon) busy() bool {
	return slices.ContainsFunc(d.keepers, func(k *keeper) bool { return occupied(k.state()) })
}

// tellBusy tells the conditions whether any slot is occupied.
func (d *Daemon) tellBusy() {
	busy := d.busy()
	if busy {
		d.rest()
	}
	d.cfg.Conditions.Busy(busy)
}

// setFacts stores the machine's part of the ads: facts, or those of before if it is nil, with the files of the
// system as they are now, and below them what probes say, so that no probe can say otherwise than the machine
// itself.
func (d *Daemon) setFacts(facts *classad.Ad) {
	d.factsMu.Lock()
	defer d.factsMu.Unlock()
	if facts == nil {
		facts = d.ownFacts
	}
	d.ownFacts = facts
	if d.cfg.System != nil {
		facts = facts.Clone()
		d.cfg.System.Set(facts)
	}
	if d.cfg.Probes != nil {
		facts = facts.Clone()
		facts.SetParent(d.cfg.Probes.Ad())
	}
	d.facts.Store(facts)
}

// probed takes up what the probes say now.
func (d *Daemon) probed() {
	d.setFacts(nil)
	d.lookAgain()
}

// idle reports whether nobody would notice a moment's work: no job is here, the owner is away, no other
// program has much to do, and the power does not come from a battery.
func (d *Daemon) idle(now time.Time) bool {
	const away, background = time.Minute, 0.3
	for _, k := range d.keepers {
		if s := k.state(); s.State != slot.Unclaimed && s.State != slot.Owner {
			return false
		}
	}
	if idle, ok := d.owner.idle(now); ok && idle < away {
		return false
	}
	d.cfg.Conditions.LookAtPower(now, offerPower)
	ad := classad.NewAd()
	d.load.set(ad)
	load, ok := ad.Real("LoadAvg")
	return ok && load <= background && !d.cfg.Conditions.OnBattery()
}

// whenIdle has the work done that waits for an idle moment, reads the facts again after it, and says so. The advertiser
// calls it.
func (d *Daemon) whenIdle(ctx context.Context) (worked bool) {
	if d.cfg.WhenIdle == nil || d.idleDone || !d.idle(time.Now()) {
		return false
	}
	d.idleDone = true
	d.cfg.WhenIdle(ctx)
	d.readFacts(ctx)
	d.calm = !d.busy()
	d.sendAd(false)
	return true
}

// rest says whether there is no job.
func (d *Daemon) rest() {
	if d.cfg.Rest == nil {
		return
	}
	d.restMu.Lock()
	defer d.restMu.Unlock()
	if busy := d.busy(); !busy || d.rests {
		d.rests = !busy
		d.cfg.Rest(!busy)
	}
}

// restAnew has an agent that rests give back all that a longer piece of work has needed.
func (d *Daemon) restAnew() {
	d.restMu.Lock()
	defer d.restMu.Unlock()
	if d.rests {
		d.cfg.Rest(false)
		d.cfg.Rest(true)
	}
}
