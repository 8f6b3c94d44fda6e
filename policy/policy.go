// Package policy turns what an admin writes about a machine into the ClassAd expressions by which its
// slots decide: when a job may start, is suspended, goes on, must leave, and is killed.
//
// A [File] is what the admin wrote, [Derive] makes a [Policy] of it: the preset's expressions with the
// numbers of the tables filled in, then what the table [expressions] replaces. Names and meaning of
// the expressions are HTCondor's. One rule of ours stands above them: the owner comes first. What
// cannot be told counts as the owner being there; and hours in which jobs may run are a further
// condition, never a replacement for watching the keyboard, so that somebody who comes in at night is
// as safe as at noon.
//
// The package reads no files (package config decodes them), watches nobody and changes no slot.
package policy

import (
	"time"

	"skua/internal/quantity"
	"skua/policy/classad"
)

// Policy is what holds on one machine. It is not changed once derived and may be shared.
type Policy struct {
	Preset Preset

	// The expressions are evaluated in the ad of a slot, against the ad of its job.
	Start       *classad.Expr // START: a job may start
	Suspend     *classad.Expr // SUSPEND: the job is to be frozen where it is
	Continue    *classad.Expr // CONTINUE: the suspended job may go on
	Preempt     *classad.Expr // PREEMPT: the job must leave
	Kill        *classad.Expr // KILL: the leaving job has had its time
	WantSuspend *classad.Expr // WANT_SUSPEND: suspend first, rather than leave at once
	WantVacate  *classad.Expr // WANT_VACATE: let the job leave with a checkpoint, rather than kill it
	Rank        *classad.Expr // RANK: the larger, the more welcome the job
	Throttle    *classad.Expr // THROTTLE: the job goes on with InUse only, since the owner is there
	Draining    *classad.Expr // Draining: no further job comes
	Retirement  *classad.Expr // MaxJobRetirementTime: seconds that a job may have run before PREEMPT counts

	IdleAfter     time.Duration // no input for this long: the owner is away
	ContinueAfter time.Duration // the same for a job that is suspended here
	SuspendFor    time.Duration // the longest that a job stays suspended before it moves on
	MaxVacateTime time.Duration // the longest that a leaving job may take
	MaxSendTime   time.Duration // the longest that its image may take after that, while nothing of the job runs
	MinInterval   time.Duration // the shortest time between two images of a job that runs
	MaxInterval   time.Duration // the longest, unless images are dear; not less than MinInterval
	MayPause      time.Duration // the longest pause that the owner may order; 0 for none

	CPUs         quantity.Share     // of the machine's, for jobs
	InUse        quantity.Share     // the same while the owner is there; none means that they stand still
	Memory       quantity.ByteShare // of the machine's, for jobs
	Disk         quantity.ByteShare // of what is free where jobs run
	DiskFloor    quantity.Bytes     // of the disk where jobs run, left free
	Periodic     bool               // images are made of jobs that run
	OnMetered    Metered            // MeteredNever if none while the network may cost by the byte
	Network      Network            // what jobs may reach
	TransferRate quantity.Rate      // of what the agent transfers, in each direction; 0 means no limit
	Shared       []string           // directories that jobs find at the same path, writable

	WatchedApps    []string // programs, in lower case, of which RunningApps has those that run
	SlotsConnected int      // so many slots, from the first on, make way for the owner; 0 means all

	Machine *classad.Ad // further attributes of the machine's slots
}

// InUseCPUs is how many of the machine's cpus its jobs get, all together, while the owner is there. It
// is 0 where they stand still then.
func (p *Policy) InUseCPUs(total int64) float64 {
	if p.InUse.Percent == 0 {
		return float64(p.InUse.Of(total))
	}
	cpus := float64(total) * p.InUse.Percent / 100
	if p.InUse.Count > 0 {
		cpus = min(cpus, float64(p.InUse.Count))
	}
	return cpus
}

// Connected reports whether the slot with that number, from 1 on, makes way for the owner.
func (p *Policy) Connected(slot int) bool { return p.SlotsConnected == 0 || slot <= p.SlotsConnected }

// named is one of a policy's expressions.
type named struct {
	name    string
	expr    **classad.Expr // of the policy
	derived string         // what the settings make it
	written *Expression    // what the file has in the place of that; nil for nothing
}

// expressions lists the expressions in the order in which a slot's life meets them.
func (p *Policy) expressions() []named { return p.listed(texts{}, Expressions{}) }

// listed is the same with what they are made of.
func (p *Policy) listed(t texts, by Expressions) []named {
	return []named{
		{"START", &p.Start, t.start, by.Start},
		{"SUSPEND", &p.Suspend, t.suspend, by.Suspend},
		{"CONTINUE", &p.Continue, t.resume, by.Continue},
		{"PREEMPT", &p.Preempt, t.preempt, by.Preempt},
		{"KILL", &p.Kill, t.kill, by.Kill},
		{"WANT_SUSPEND", &p.WantSuspend, t.wantSuspend, by.WantSuspend},
		{"WANT_VACATE", &p.WantVacate, t.wantVacate, by.WantVacate},
		{"RANK", &p.Rank, t.rank, by.Rank},
		{"THROTTLE", &p.Throttle, t.throttle, by.Throttle},
		{"Draining", &p.Draining, t.draining, by.Draining},
		{"MaxJobRetirementTime", &p.Retirement, t.retirement, by.Retirement},
	}
}

// SlotAd gives the part of a slot's ad that follows from the policy, chained to the facts of the
// machine: the slot's share of cpus, memory and disk, [Policy.Machine], the expressions, and the
// Requirements that the matchmaker evaluates. Facts that a machine may be unable to tell are undefined until they are
// set, so that the matchmaker, too, does not take a job's word for them. slots is how many slots share the machine. facts may be
// nil; it is read, not changed.
func (p *Policy) SlotAd(facts *classad.Ad, slots int) *classad.Ad {
	const kib, mib = 1 << 10, 1 << 20 // the units of Disk and Memory
	slots = max(slots, 1)
	ad := classad.NewAd()
	if facts != nil {
		ad.SetParent(facts)
		if n, ok := facts.Int("TotalCpus"); ok {
			ad.SetInt("Cpus", max(1, p.CPUs.Of(n)/int64(slots))) // more slots than cpus share them
		}
		if n, ok := facts.Int("TotalMemory"); ok {
			ad.SetInt("Memory", int64(p.Memory.Of(quantity.Bytes(n)*mib)/mib)/int64(slots))
		}
		if n, ok := facts.Int("TotalDisk"); ok {
			free := max(0, quantity.Bytes(n)*kib-p.DiskFloor)
			ad.SetInt("Disk", int64(p.Disk.Of(free)/kib)/int64(slots))
		}
	}
	ad.SetInt("TotalSlots", int64(slots))
	if p.SlotsConnected > 0 {
		ad.SetInt("SlotsConnectedToKeyboard", int64(min(p.SlotsConnected, slots)))
	}
	for _, name := range p.Machine.Names() {
		expr, _ := p.Machine.Lookup(name)
		ad.Set(name, expr)
	}
	setUntold(ad)
	for _, e := range p.expressions() {
		ad.Set(e.name, *e.expr)
	}
	ad.Set("WithinResourceLimits", withinLimits)
	ad.Set("Requirements", requirements)
	return ad
}

// A request that the job does not make asks for nothing.
var (
	withinLimits = mustParse(`(TARGET.RequestCpus > MY.Cpus) =!= true && (TARGET.RequestMemory > MY.Memory) =!= true && ` +
		`(TARGET.RequestDisk > MY.Disk) =!= true`)
	requirements = mustParse("START && WithinResourceLimits")
)

// SetClock sets the attributes that [hours] reads, in the machine's own time zone: ClockMin, the
// minutes since midnight, ClockDay, the day of the week from Sunday 0, and ClockDate, the day as 20261224.
func SetClock(ad *classad.Ad, now time.Time) {
	ad.SetInt("ClockMin", int64(now.Hour()*60+now.Minute()))
	ad.SetInt("ClockDay", int64(now.Weekday()))
	ad.SetInt("ClockDate", int64(clockDate(now)))
}
