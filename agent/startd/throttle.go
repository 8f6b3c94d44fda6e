package startd

import (
	"context"
	"runtime"
	"sync"
	"time"

	"skua/agent/slot"
	"skua/internal/diag"
	"skua/internal/job"
)

// throttle is how much of the machine's processors a tenant's job is to have, and has.
type throttle struct {
	mu   sync.Mutex // guards cpus
	cpus float64    // that it is to have; 0 means all that it may

	applying sync.Mutex // held while an init is told; guards what follows
	in       Init       // that was told last
	told     float64    // what
}

// throttleWithin is how long an init may take to be told.
const throttleWithin = 5 * time.Second

// inUse is how many cpus the slot's job gets while the owner is there: its part of what the policy grants
// all of them.
func (k *keeper) inUse() float64 {
	const least = 0.01 // the kernel's periods cannot be divided further
	total := k.d.cpus()
	if k.d.parts != nil {
		// As much of it as of the cpus that jobs get while nobody is there.
		granted, _ := k.d.parts.granted().Int("Cpus")
		if has := k.d.parts.of(k); has != nil && granted > 0 {
			return max(k.d.policy().InUseCPUs(total)*float64(has.Cpus)/float64(granted), least)
		}
	}
	p, sharers := k.d.policy(), k.d.cfg.Slots
	if p.SlotsConnected > 0 {
		sharers = min(sharers, p.SlotsConnected)
	}
	return max(p.InUseCPUs(total)/float64(sharers), least)
}

// cpus is how many the machine has.
func (d *Daemon) cpus() int64 {
	if total, ok := d.facts.Load().Int("TotalCpus"); ok {
		return total
	}
	return int64(runtime.NumCPU())
}

// throttle has the job get so many cpus only; 0 lets it have all that it may. A job that has no init yet
// starts like that.
func (t *tenant) throttle(cpus float64) {
	if t == nil {
		return
	}
	t.slow.mu.Lock()
	t.slow.cpus = cpus
	t.slow.mu.Unlock()
	t.k.wg.Go(t.applyThrottle)
}

// applyThrottle tells the init what it has not been told. A job that cannot be throttled is suspended
// instead.
func (t *tenant) applyThrottle() {
	t.slow.applying.Lock()
	defer t.slow.applying.Unlock()
	t.slow.mu.Lock()
	cpus := t.slow.cpus
	t.slow.mu.Unlock()
	p := t.init.Load()
	if p == nil {
		return
	}
	if in := *p; in != t.slow.in {
		t.slow.in, t.slow.told = in, 0
	}
	if cpus == t.slow.told {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), throttleWithin)
	defer cancel()
	if err := t.slow.in.Throttle(ctx, cpus); err != nil {
		select {
		case <-t.slow.in.Done():
			return // there is no job to throttle
		default:
		}
		t.log.Warn("throttle the job", "cpus", cpus, diag.KeyError, err)
		if cpus > 0 {
			t.k.post(func(at time.Time, _ job.Instant) slot.Event { return slot.ThrottleFailed{At: at} })
		}
		return
	}
	t.slow.told = cpus
	t.log.Debug("job is throttled", "cpus", cpus)
}

// inheritThrottle takes over what holds of the job before, whose init is this one's too.
func (t *tenant) inheritThrottle(before *tenant) {
	before.slow.applying.Lock()
	defer before.slow.applying.Unlock()
	before.slow.mu.Lock()
	defer before.slow.mu.Unlock()
	t.slow.cpus, t.slow.in, t.slow.told = before.slow.cpus, before.slow.in, before.slow.told
}
