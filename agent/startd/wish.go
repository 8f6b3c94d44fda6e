package startd

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"skua/agent/control"
	"skua/agent/slot"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/policy"
)

// wishFile says what the person at the machine wants of the agent. It outlives the agent: a machine that
// was paused until noon is paused until noon.
const wishFile = "wish.json"

// heed is what the policy's verdicts become while somebody at the machine wishes otherwise.
func heed(v slot.Verdicts, w control.Wish, now time.Time, suspendFor time.Duration) slot.Verdicts {
	if !w.Holds(now) {
		return v
	}
	v.Start, v.Open = false, false
	if w.Kind == control.Finish {
		v.Draining = true
	}
	if w.Kind == control.Pause {
		long := w.Until.Sub(now) > suspendFor
		v.Evict = long || v.Preempt && !v.WantSuspend
		v.Suspend, v.Continue, v.WantSuspend, v.Armed, v.Why = true, false, true, true, w.String()
		v.Throttle, v.Slows = false, false
		// A job that would have to leave in the end leaves now: where it goes on, no time is lost.
		v.Preempt = v.Preempt || long
	}
	return v
}

// wished is what is wished for now, the zero Wish if nothing is.
func (d *Daemon) wished(now time.Time) control.Wish {
	if w := d.wish.Load(); w != nil {
		return w.Current(now)
	}
	return control.Wish{}
}

// Heed acts on a wish at once, and keeps it. The zero Wish takes back the one before. It holds also if it cannot be
// written, as on a full disk, which may be why its owner wants the jobs away; the status says so then.
func (d *Daemon) Heed(w control.Wish) {
	d.wish.Store(&w)
	d.lookAgain()
	err := writeJSON(d.cfg.Dir, wishFile, w, true)
	d.unkept.Store(err != nil)
	if err != nil {
		d.log.Warn("what the owner wishes for is not on the disk: an agent that is started again will not know it", diag.KeyError, err)
	}
}

// readWish brings back what was wished for before the agent was started again.
func (d *Daemon) readWish() {
	var w control.Wish
	switch err := readJSON(d.cfg.Dir, wishFile, &w); {
	case err == nil:
		d.wish.Store(&w)
	case !errors.Is(err, fs.ErrNotExist):
		d.log.Warn("what the owner wished for cannot be read", "file", filepath.Join(d.cfg.Dir, wishFile), diag.KeyError, err)
	}
}

// MayPause is the longest wish that who sits at the machine may have heeded.
func (d *Daemon) MayPause() time.Duration { return d.policy().MayPause }

// Status says what the agent does at this moment. What the agent's surroundings know is left out.
func (d *Daemon) Status(now time.Time) control.Status {
	s := control.Status{
		Machine: d.cfg.Machine, Wish: d.wished(now), MayPause: d.MayPause(), Idle: -1,
		Policy: string(d.policy().Preset), WishUnkept: d.unkept.Load(),
	}
	if idle, ok := d.owner.idle(now); ok {
		s.Idle = idle
	}
	if d.owner.watcher != nil {
		for _, src := range d.owner.watcher.Unseen() {
			s.Unseen = append(s.Unseen, control.Unseen{Source: src.Name, Why: src.Err.Error()})
		}
	}
	if err := d.cfg.Starter.CanRun(); err != nil {
		s.CannotRun = err.Error()
	}
	if load, ok := d.load.now(); ok {
		s.SkuaLoad = load.Ours
	}
	s.BadPolicy = d.PolicyProblem()
	if p, ok := d.centralPolicy(); ok {
		s.Central = &control.Central{Group: p.Group, Number: p.Number, At: p.At}
	}
	if d.parts != nil { // the slot that is offered, before those that have jobs
		_, free := d.parts.speaks()
		s.Slots = append(s.Slots, control.SlotStatus{
			Name: policy.PartitionName(d.cfg.Machine), State: free.State.String(), Activity: free.Activity.String(),
			Since: free.Entered, Why: free.Why,
		})
	}
	for _, k := range d.keepers {
		if d.parts == nil || k.state().Tenancy.Phase != job.Free {
			s.Slots = append(s.Slots, k.status())
		}
	}
	s.Rules, s.Facts = d.explained(now)
	return s
}

// mostRules bounds the bytes of a policy that a status has in it.
const mostRules = 64 << 10

// explained gives the policy's expressions, and what the first slot says of what they look at.
func (d *Daemon) explained(now time.Time) (rules, facts map[string]string) {
	p := d.policy()
	rules = p.Texts()
	size := 0
	for _, text := range rules {
		size += len(text)
	}
	if size > mostRules || len(d.keepers) == 0 {
		return nil, nil
	}
	if d.parts != nil {
		return rules, p.Facts(d.parts.spoken(now))
	}
	return rules, p.Facts(d.keepers[0].ad(now, d.keepers[0].state()))
}

func (k *keeper) status() control.SlotStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := control.SlotStatus{
		Name: k.name, State: k.slot.State.String(), Activity: k.slot.Activity.String(), Since: k.slot.Entered, Why: k.slot.Why,
	}
	if s.Still = k.slot.Frozen() || k.yields; k.yields {
		s.Why = noRoom
	}
	if k.slot.Tenancy.Phase != job.Free {
		s.Job, s.User = k.slot.Tenancy.Job.String(), k.user
	}
	return s
}
