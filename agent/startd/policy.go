package startd

import (
	"slices"
	"time"

	"skua/agent/slot"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/policy"
)

// policy is what holds now. It may be another one the next time.
func (d *Daemon) policy() *policy.Policy { return d.rules.Load() }

// SetPolicy puts another policy into force. Jobs that run are judged by it from now on, and are not
// touched otherwise; what a job was granted of memory and disk when it came it keeps.
func (d *Daemon) SetPolicy(p *policy.Policy) {
	// What is not known of a program counts as its running, so those of either policy are known before the change.
	apps := slices.Clone(d.policy().WatchedApps)
	for _, app := range p.WatchedApps {
		if !slices.Contains(apps, app) {
			apps = append(apps, app)
		}
	}
	d.cfg.Conditions.SetApps(apps)
	d.rules.Store(p)
	d.cfg.Conditions.SetApps(p.WatchedApps)
	d.badPolicy.Store(nil)
	d.cfg.Transfers.SetRate(int64(p.TransferRate))
	d.checkMounts()
	for _, k := range d.keepers {
		k.post(func(at time.Time, now job.Instant) slot.Event {
			k.follow(p)
			return slot.Tick{At: at, Now: now}
		})
	}
	d.lookAgain()
}

// lookAgain has the policy look at every slot, and the ads sent: something that it may go by has changed. It
// waits for nobody, since a keeper may find that out itself.
func (d *Daemon) lookAgain() {
	for _, k := range d.keepers {
		select {
		case k.again <- struct{}{}:
		default: // it has not looked yet since the last time
		}
	}
	d.advertiseNow()
}

// RefusePolicy notes why a policy that was to come into force has not. The machine's ads say so until
// there is a good one.
func (d *Daemon) RefusePolicy(why error) {
	d.noteProblem(why)
	d.log.Error("the new policy is refused, and the old one stays in force", diag.KeyError, why)
	d.advertiseNow()
}

func (d *Daemon) noteProblem(why error) {
	text := why.Error()
	d.badPolicy.Store(&text)
}

// PolicyProblem says why the policy that is written is not the one in force; "" if it is.
func (d *Daemon) PolicyProblem() string {
	if why := d.badPolicy.Load(); why != nil {
		return *why
	}
	return ""
}

// follow has the keeper go by p. It runs on the keeper's goroutine, or before that.
func (k *keeper) follow(p *policy.Policy) {
	k.cfg.SuspendFor, k.cfg.MaxVacate, k.cfg.MaxSend = p.SuspendFor, p.MaxVacateTime, p.MaxSendTime
	if k.slot.Throttled {
		k.tenant.throttle(k.inUse()) // it may be another number of cpus
	}
}

// connected reports whether the slot makes way for the person at the keyboard.
func (k *keeper) connected() bool { return k.d.policy().Connected(k.num) }
