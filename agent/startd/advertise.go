package startd

import (
	"context"
	"math/rand/v2"
	"time"

	"skua/agent/rhythm"
	"skua/agent/slot"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
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

// afterOthers is how long after a beat the matchmaker hears of the agent: what is looked at on the same beat has been
// by then, and what that has needed is given back with the rest.
const afterOthers = 200 * time.Millisecond

// advertiseNow has the ads sent soon: something in them has changed.
func (d *Daemon) advertiseNow() {
	select {
	case d.adNow <- struct{}{}:
	default:
	}
}

// advertise keeps the matchmaker informed until ctx ends: the whole ad on change and every
// wire.AdInterval, a heartbeat in between unless the agent is calm, and a farewell at the end.
func (d *Daemon) advertise(ctx context.Context) error {
	d.sendAd(false)
	d.whenIdle(ctx)
	last := time.Now() // when the matchmaker heard of the agent without a change
	full := last       // the same with the whole ad
	next := func() time.Duration { return time.Until(rhythm.Next(last, d.every())) + afterOthers }
	beat := time.NewTimer(next())
	defer beat.Stop()
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
				if pause.For(ctx, adPause) != nil {
					continue
				}
				select {
				case <-d.adNow:
				default:
				}
			}
			d.sendAd(false)
		case <-beat.C:
			last = time.Now().Add(-afterOthers)
			d.calm = !d.busy() && (d.cfg.WhenIdle == nil || d.idleDone)
			if d.calm || last.Sub(full) > wire.AdInterval-wire.HeartbeatInterval/2 {
				full = last
				d.readFacts(ctx)
				d.sendAd(false)
			} else {
				d.send(wire.HeartbeatSubject(d.cfg.Agent), wire.Heartbeat{V: wire.Version})
			}
			worked := d.whenIdle(ctx)
			if err := d.cfg.Bus.Flush(ctx); err != nil {
				d.log.Debug("the matchmaker has not heard of this agent", diag.KeyError, err)
			}
			// Last of all, or it would need again what it has just given back.
			if worked {
				d.restAnew()
			}
			d.rest()
		case <-d.cfg.Bus.Reconnected():
			d.fetchPolicySoon()
			if pause.For(ctx, rand.N(reconnectJitter)) != nil { // a thousand agents come back at once
				continue
			}
			d.sendAd(false)
		}
		beat.Reset(next())
	}
}

// every is how often the matchmaker hears of the agent without a change. The advertiser calls it.
func (d *Daemon) every() time.Duration {
	if d.calm && !d.busy() {
		return wire.AdInterval
	}
	return wire.HeartbeatInterval
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
		ad.Slots, ad.Every = d.ads(time.Now()), d.every()
	}
	d.send(wire.AdSubject(d.cfg.Agent), ad)
}

// ads are those of all slots.
func (d *Daemon) ads(now time.Time) []*classad.Ad {
	if d.parts != nil {
		return d.parts.ads(now)
	}
	var all []*classad.Ad
	for _, k := range d.keepers {
		all = append(all, k.ad(now, k.state()).Flat())
	}
	return all
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
// state, and the owner's idle time. A part of the machine that has no job speaks for the partitionable slot.
func (k *keeper) ad(now time.Time, s slot.Slot) *classad.Ad {
	return k.complete(k.shareAd(), now, s)
}

// shareAd is the policy's part of the ad, with the slot's share of the machine.
func (k *keeper) shareAd() *classad.Ad {
	if k.d.parts != nil {
		return k.d.parts.ad(k)
	}
	ad := k.d.policy().SlotAd(k.d.facts.Load(), k.d.cfg.Slots)
	ad.SetString("Name", k.name)
	ad.SetInt("SlotID", int64(k.num))
	return ad
}

// complete adds to the policy's part of an ad how the slot is.
func (k *keeper) complete(ad *classad.Ad, now time.Time, s slot.Slot) *classad.Ad {
	if k.d.unshared.Load() {
		ad.Delete("FileSystemDomain")
	}
	ad.SetString("Machine", k.d.cfg.Machine)
	if dynamic, _ := ad.Bool(policy.AttrDynamic); dynamic && s.Tenancy.Phase != job.Free {
		ad.SetString("JobId", s.Tenancy.Job.String()) // whose share the matchmaker need not take off once more
	}
	why := k.d.cfg.Starter.CanRun()
	ad.SetBool("CanRunJobs", why == nil)
	if why != nil {
		ad.SetString("CannotRunJobsReason", why.Error())
		ad.SetBool("START", false)
	}
	if w := k.d.wished(now); w.Kind != "" {
		ad.SetInt("PausedUntil", w.Until.Unix()) // by whom is nobody's business elsewhere
		ad.SetBool("START", false)
	}
	ad.SetString("State", s.State.String())
	ad.SetString("Activity", s.Activity.String())
	ad.SetInt("EnteredCurrentState", s.Since.Unix())
	ad.SetInt("EnteredCurrentActivity", s.Entered.Unix())
	ad.SetBool("Throttled", s.Throttled)
	if why := k.d.PolicyProblem(); why != "" {
		ad.SetString("PolicyProblem", why)
	}
	if p, ok := k.d.centralPolicy(); ok {
		ad.SetString("CentralPolicy", p.Group)
		ad.SetInt("CentralPolicyNumber", p.Number)
	}
	k.setIdle(ad, now)
	policy.SetClock(ad, k.d.zone.local(now))
	k.d.load.set(ad)
	if !k.connected() {
		k.disconnect(ad)
	}
	k.d.cfg.Conditions.Set(ad)
	return ad
}

// disconnectedBoost is how much longer than the agent the owner of a slot counts as away that does not
// make way for the keyboard: HTCondor's DISCONNECTED_KEYBOARD_IDLE_BOOST.
const disconnectedBoost = 1200 * time.Second

// setIdle sets how long ago the owner was seen.
func (k *keeper) setIdle(ad *classad.Ad, now time.Time) {
	idle, ok := k.d.owner.idle(now)
	if !ok {
		return
	}
	if !k.connected() {
		away := int64((now.Sub(k.d.began) + disconnectedBoost) / time.Second)
		ad.SetInt("KeyboardIdle", away)
		ad.SetInt("ConsoleIdle", away)
		return
	}
	ad.SetInt("KeyboardIdle", int64(idle/time.Second))
	if idle, ok := k.d.owner.watcher.ConsoleIdle(now); ok {
		ad.SetInt("ConsoleIdle", int64(idle/time.Second))
	}
}

// disconnect has the load of other programs fall to the slots that make way for the owner, as far as
// their cpus go.
func (k *keeper) disconnect(ad *classad.Ad) {
	load, ok := ad.Real("LoadAvg")
	ours, ok2 := ad.Real("SkuaLoadAvg")
	cpus, ok3 := ad.Int("Cpus")
	if !ok || !ok2 || !ok3 {
		return
	}
	theirs := float64(cpus * int64(k.d.policy().SlotsConnected))
	if k.d.parts != nil { // a dynamic slot has as many cpus as its job asks for: take them for evenly divided
		granted, _ := k.d.parts.granted().Int("Cpus")
		theirs = float64(granted) * float64(k.d.policy().SlotsConnected) / float64(k.d.cfg.Slots)
	}
	ad.SetReal("LoadAvg", ours+max(0, load-ours-theirs))
}

// verdicts asks the policy about the slot as it is now, and as it would be if the owner touched a key.
func (k *keeper) verdicts(now time.Time) slot.Verdicts {
	if k.slot.Tenancy.Phase == job.Free {
		return k.verdictsFor(now, nil)
	}
	return k.verdictsFor(now, k.offer.Ad)
}

// verdictsFor asks it with regard to a job; nil for none.
func (k *keeper) verdictsFor(now time.Time, job *classad.Ad) slot.Verdicts {
	ad := k.ad(now, k.slot)
	// How long it has been as it is counts without the time that the machine slept, as the slot's own deadlines do: a job that
	// was just leaving when the lid closed is still about to when it opens.
	ad.SetInt("EnteredCurrentActivity", now.Unix()-int64(now.Sub(k.slot.Entered)/time.Second))
	v := Verdicts(k.d.policy(), ad, job, k.d.owner.watcher != nil && k.connected())
	if k.d.cfg.Starter.CanRun() != nil {
		v.Start, v.Open = false, false
	}
	return heed(v, k.d.wished(now), now, k.cfg.SuspendFor)
}
