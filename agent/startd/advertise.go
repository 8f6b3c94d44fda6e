package startd

import (
	"context"
	"math/rand/v2"
	"time"

	"skua/agent/slot"
	"skua/internal/diag"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// reconnectJitter spreads the ads of agents that come back at once.
const reconnectJitter = 2 * time.Second

// Changes are told at once, up to adBurst of them, and then once in adPause.
const (
	adBurst = 8
	adPause = 250 * time.Millisecond
)

// advertiseNow has the ads sent soon: something in them has changed.
func (d *Daemon) advertiseNow() {
	select {
	case d.adNow <- struct{}{}:
	default:
	}
}

// advertise keeps the matchmaker informed until ctx ends: the whole ad on change and every
// wire.AdInterval, a heartbeat in between, and a farewell at the end.
func (d *Daemon) advertise(ctx context.Context) error {
	heartbeat := time.NewTicker(wire.HeartbeatInterval)
	defer heartbeat.Stop()
	full := time.NewTicker(wire.AdInterval)
	defer full.Stop()
	d.sendAd(false)
	d.whenIdle(ctx)
	spare, since := adBurst, time.Now()
	for {
		select {
		case <-ctx.Done():
			d.sendAd(true)
			return nil
		case <-d.adNow:
			if more := int(time.Since(since) / adPause); more > 0 {
				spare, since = min(spare+more, adBurst), since.Add(time.Duration(more)*adPause)
			}
			if spare--; spare < 0 {
				// Short jobs change the ad all the time. What is sent next has it as it is then.
				spare = 0
				if !wait(ctx, adPause) {
					continue
				}
				select {
				case <-d.adNow:
				default:
				}
			}
			d.sendAd(false)
		case <-full.C:
			d.readFacts(ctx)
			d.sendAd(false)
		case <-heartbeat.C:
			d.send(wire.HeartbeatSubject(d.cfg.Agent), wire.Heartbeat{V: wire.Version})
			d.whenIdle(ctx)
		case <-d.cfg.Bus.Reconnected():
			if !wait(ctx, rand.N(reconnectJitter)) { // a thousand agents come back at once
				continue
			}
			d.sendAd(false)
		}
	}
}

func wait(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (d *Daemon) readFacts(ctx context.Context) {
	facts, err := d.cfg.Facts(ctx)
	if err != nil {
		d.log.Warn("some facts of the machine cannot be read", diag.KeyError, err)
	}
	if facts != nil {
		d.setFacts(facts)
	}
	d.checkMounts()
}

func (d *Daemon) sendAd(bye bool) {
	ad := wire.Ad{V: wire.Version, Machine: d.cfg.Machine, Bye: bye}
	if !bye {
		now := time.Now()
		for _, k := range d.keepers {
			ad.Slots = append(ad.Slots, k.ad(now, k.state()).Flat())
		}
	}
	d.send(wire.AdSubject(d.cfg.Agent), ad)
}

func (d *Daemon) send(subject string, message any) {
	data, err := wire.Encode(message)
	if err == nil {
		err = d.cfg.Bus.Publish(subject, data)
	}
	if err != nil { // presence is soft state: the next one will do
		d.log.Debug("message not sent", diag.KeySubject, subject, diag.KeyError, err)
	}
}

// ad is what the slot says of itself: the machine's facts, what the policy adds, the slot's share and
// state, and the owner's idle time.
func (k *keeper) ad(now time.Time, s slot.Slot) *classad.Ad {
	ad := k.d.cfg.Policy.SlotAd(k.d.facts.Load(), k.d.cfg.Slots)
	if k.d.unshared.Load() {
		ad.Delete("FileSystemDomain")
	}
	ad.SetString("Name", k.name)
	ad.SetInt("SlotID", int64(k.num))
	ad.SetString("Machine", k.d.cfg.Machine)
	why := k.d.cfg.Starter.CanRun()
	ad.SetBool("CanRunJobs", why == nil)
	if why != nil {
		ad.SetString("CannotRunJobsReason", why.Error())
		ad.SetBool("START", false)
	}
	ad.SetString("State", s.State.String())
	ad.SetString("Activity", s.Activity.String())
	ad.SetInt("EnteredCurrentState", s.Since.Unix())
	ad.SetInt("EnteredCurrentActivity", s.Entered.Unix())
	if idle, ok := k.d.owner.idle(now); ok {
		ad.SetInt("KeyboardIdle", int64(idle/time.Second))
		if idle, ok := k.d.owner.watcher.ConsoleIdle(now); ok {
			ad.SetInt("ConsoleIdle", int64(idle/time.Second))
		}
	}
	policy.SetClock(ad, now)
	k.d.load.set(ad)
	k.d.cfg.Conditions.Set(ad)
	return ad
}

// verdicts asks the policy about the slot as it is now, and as it would be if the owner touched a key.
func (k *keeper) verdicts(now time.Time) slot.Verdicts { return k.verdictsFor(now, k.offer.Ad) }

// verdictsFor asks it with regard to a job.
func (k *keeper) verdictsFor(now time.Time, job *classad.Ad) slot.Verdicts {
	ad := k.ad(now, k.slot)
	v := k.d.cfg.Policy.Verdicts(ad, job)
	verdicts := slot.Verdicts{
		Start: v.Start && k.d.cfg.Starter.CanRun() == nil, Suspend: v.Suspend, Continue: v.Continue, Preempt: v.Preempt, Kill: v.Kill,
		WantSuspend: v.WantSuspend, WantVacate: v.WantVacate,
	}
	if k.d.owner.watcher != nil {
		ad.SetInt("KeyboardIdle", 0)
		ad.SetInt("ConsoleIdle", 0)
		ahead := k.d.cfg.Policy.Verdicts(ad, job)
		verdicts.Armed = ahead.WantSuspend && ahead.Suspend || !ahead.WantSuspend && ahead.Preempt
	}
	return verdicts
}
