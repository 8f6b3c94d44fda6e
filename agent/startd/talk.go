package startd

import (
	"context"
	"fmt"
	"time"

	"skua/agent/slot"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
)

// listen subscribes to what the matchmaker sends. The function it returns ends that.
func (d *Daemon) listen() (stop func(), err error) {
	offers, err := d.cfg.Bus.Subscribe(wire.OfferSubject(d.cfg.Agent), d.onOffer)
	if err != nil {
		return nil, fmt.Errorf("listen for offers: %w", err)
	}
	controls, err := d.cfg.Bus.Subscribe(wire.ControlSubject(d.cfg.Agent), d.onControl)
	if err != nil {
		offers.Unsubscribe()
		return nil, fmt.Errorf("listen for controls: %w", err)
	}
	toAll, err := d.cfg.Bus.Subscribe(wire.ControlSubject(wire.AllAgents), d.onControl)
	if err != nil {
		offers.Unsubscribe()
		controls.Unsubscribe()
		return nil, fmt.Errorf("listen for what all agents are told: %w", err)
	}
	return func() {
		offers.Unsubscribe()
		controls.Unsubscribe()
		toAll.Unsubscribe()
	}, nil
}

func (d *Daemon) onOffer(m bus.Msg) {
	offer, err := wire.Decode[wire.Offer](m.Data)
	if err != nil {
		d.log.Warn("offer cannot be read", diag.KeyError, err)
		return
	}
	if d.parts != nil && offer.Slot == policy.PartitionName(d.cfg.Machine) {
		d.offerPart(offer)
		return
	}
	for _, k := range d.keepers {
		if k.name == offer.Slot {
			k.post(func(at time.Time, now job.Instant) slot.Event { return k.offered(offer, at, now) })
			return
		}
	}
	d.log.Warn("offer for a slot that is not here", diag.KeySlot, offer.Slot, diag.KeyJob, offer.Job)
}

func (d *Daemon) onControl(m bus.Msg) {
	c, err := wire.Decode[wire.Control](m.Data)
	if err != nil {
		d.log.Warn("control cannot be read", diag.KeyError, err)
		return
	}
	switch c.Do {
	case wire.Advertise:
		d.advertiseNow()
		return
	case wire.FetchPolicy:
		d.fetchPolicySoon()
		return
	}
	given := false // some slot may be, with the answer to its report
	for _, k := range d.keepers {
		t := k.state().Tenancy
		given = given || t.Phase == job.Reporting
		if c.Claim != "" && t.Claim == c.Claim {
			k.post(func(at time.Time, now job.Instant) slot.Event {
				k.told++
				return k.controlled(c, at, now)
			})
			return
		}
	}
	switch c.Do {
	case wire.PeekClaim:
		d.peeked(wire.Peeked{ID: c.ID, Fail: wire.Fail(errNotRunning)})
	case wire.ConfirmClaim:
		if !given && d.remains.none(c.Claim) {
			d.buried(c.ClaimRef)
		}
	}
}

// controlled turns a control of the matchmaker into the slot's event. It runs on the keeper's goroutine.
func (k *keeper) controlled(c wire.Control, at time.Time, now job.Instant) slot.Event {
	if k.slot.Tenancy.Claim != c.Claim || k.tenant == nil {
		return slot.Tick{At: at, Now: now} // it has ended meanwhile
	}
	switch c.Do {
	case wire.KillClaim:
		k.log.Info("job is withdrawn", diag.KeyJob, c.Job, "why", c.For)
		signal, grace := k.tenant.farewell(c.For)
		k.farewell = signal
		return slot.Withdrawn{At: at, Claim: c.Claim, Why: withdrawn[c.For], Grace: grace}
	case wire.VacateClaim:
		return slot.VacateAsked{At: at, Claim: c.Claim, Why: "it was asked to leave"}
	case wire.EvictClaim:
		return slot.VacateAsked{At: at, Claim: c.Claim, Why: "it was told to leave at once", Now: true}
	case wire.SuspendClaim:
		return slot.SuspendAsked{At: at, Claim: c.Claim}
	case wire.ContinueClaim:
		return slot.ContinueAsked{At: at, Claim: c.Claim}
	case wire.PeekClaim:
		k.peek(c)
	case wire.ConfirmClaim: // its renewals say so
	default:
		k.log.Warn("control of an unknown kind", "do", c.Do)
	}
	return slot.Tick{At: at, Now: now}
}

// withdrawn is why a job leaves whose user has no use for it any more.
var withdrawn = map[wire.Cause]string{
	"":             "its claim was withdrawn",
	wire.ForRemove: "it was removed",
	wire.ForHold:   "it was held",
}

// offered turns an offer into the slot's event. It runs on the keeper's goroutine.
func (k *keeper) offered(offer wire.Offer, at time.Time, now job.Instant) slot.Event {
	if k.slot.Tenancy.Claim == offer.Claim && k.slot.Tenancy.Phase != job.Free {
		return slot.Tick{At: at, Now: now} // a duplicate of the offer that was taken
	}
	switch {
	case k.d.parts != nil && !k.d.parts.holds(k, offer.Claim):
		k.refuse(offer, "nothing of the machine has been set apart for the job")
		return slot.Tick{At: at, Now: now}
	case k.slot.Tenancy.Phase != job.Free:
		k.refuse(offer, "the slot has a claim") // what was carved out is that claim's
		return slot.Tick{At: at, Now: now}
	case k.d.leaving.Load():
		k.decline(offer, "the agent is being stopped")
		return slot.Tick{At: at, Now: now}
	case k.undecided():
		k.decline(offer, "somebody has just touched the machine")
		return slot.Tick{At: at, Now: now}
	}
	if why := k.d.misfitOf(offer); why != "" {
		k.log.Info("job is not taken", diag.KeyJob, offer.Job, "why", why)
		k.decline(offer, why)
		return slot.Tick{At: at, Now: now}
	}
	k.offer = offer
	k.cfg.Terms = terms(offer.Terms)
	k.d.cfg.Conditions.LookAtPower(at, offerPower)
	// The verdicts of a moment ago may not be those of now, and START may look at the job.
	v := k.verdictsFor(at, offer.Ad)
	k.mu.Lock()
	k.slot.Verdicts = v
	k.mu.Unlock()
	return slot.Offered{At: at, Now: now, Job: offer.Job, Claim: offer.Claim, Epoch: offer.Epoch}
}

// terms completes what an offer says of the protocol's durations.
func terms(w wire.Terms) job.Terms {
	t := job.DefaultTerms
	if w.Lease > 0 {
		t.Lease = w.Lease
	}
	if w.Renew > 0 {
		t.Renew = w.Renew
	}
	if w.Offer > 0 {
		t.Offer = w.Offer
	}
	t.Resend = min(t.Resend, t.Renew, t.Lease/4)
	return t
}

// decline refuses an offer, and takes back what was carved out for it.
func (k *keeper) decline(offer wire.Offer, why string) {
	k.refuse(offer, why)
	k.giveBack()
}

func (k *keeper) refuse(offer wire.Offer, why string) { k.d.refuse(offer, why) }

func (d *Daemon) refuse(offer wire.Offer, why string) {
	data, err := wire.Encode(wire.Accept{
		V:        wire.Version,
		ClaimRef: wire.ClaimRef{Job: offer.Job, Claim: offer.Claim, Epoch: offer.Epoch},
		Refused:  why,
	})
	if err == nil {
		// Nobody waits for this one: an offer that is not answered is refused as well, only later.
		err = d.cfg.Bus.Publish(wire.AgentSubject(d.cfg.Agent, wire.VerbAccept), data)
	}
	if err != nil {
		d.log.Debug("refuse an offer", diag.KeySlot, offer.Slot, diag.KeyError, err)
	}
}

// ask sends a request about the claim, which message makes beside the keeper, and posts the grant that
// answers it. Silence is met by the tenancy's own timer, which asks again.
func (k *keeper) ask(ctx context.Context, verb string, message func() any) {
	claim, patience, told := k.slot.Tenancy.Claim, k.cfg.Terms.Resend, k.told
	k.wg.Go(func() {
		message := message()
		sent := k.d.cfg.Clock()
		g, err := request[wire.Grant](ctx, k.d, patience, verb, message)
		if err != nil {
			k.log.Debug("no answer about the claim", "verb", verb, diag.KeyError, err)
			return
		}
		k.post(func(at time.Time, now job.Instant) slot.Event {
			if g.Gone {
				return slot.Gone{At: at, Claim: claim}
			}
			return k.granted(g, claim, sent, at, now)
		})
		if g.Do != "" { // a control that may have been missed
			k.post(func(at time.Time, now job.Instant) slot.Event {
				if k.told != told {
					return slot.Tick{At: at, Now: now} // the grant may be older than the control that has come meanwhile
				}
				return k.controlled(wire.Control{ClaimRef: wire.ClaimRef{Claim: claim}, Do: g.Do}, at, now)
			})
		}
	})
}

// granted makes the event of a grant and passes the lease on to the init. It runs on the keeper's
// goroutine.
func (k *keeper) granted(g wire.Grant, claim job.ClaimID, sent job.Instant, at time.Time, now job.Instant) slot.Event {
	if k.tenant != nil && k.slot.Tenancy.Claim == claim {
		k.tenant.refresh(g.Read, g.Write)
		k.tenant.grant(sent.Add(k.cfg.Terms.Lease).Sub(now))
	}
	return slot.Granted{At: at, Now: now, Sent: sent, Claim: claim}
}

// report sends how the claim ended.
func (k *keeper) report(ctx context.Context) {
	t, done, patience := k.tenant, k.tenant.reported(), k.cfg.Terms.Resend
	done.More = k.wantsMore()
	k.wg.Go(func() {
		sent := k.d.cfg.Clock()
		ack, err := request[wire.Ack](ctx, k.d, patience, wire.VerbDone, done)
		if err == nil {
			err = ack.Fail.Err()
		}
		if err != nil {
			k.log.Debug("the report is not acknowledged", diag.KeyJob, done.Job, diag.KeyError, err)
			if err := t.flush(); err != nil { // it may have to wait here for long
				k.log.Warn("the report cannot be flushed", diag.KeyJob, done.Job, diag.KeyError, err)
			}
			return
		}
		if ack.Next != nil {
			k.post(func(at time.Time, now job.Instant) slot.Event {
				return k.succeeded(*ack.Next, done.Claim, sent, at, now)
			})
			return
		}
		if ack.Stale {
			k.log.Info("the report came too late to count", diag.KeyJob, done.Job, diag.KeyEpoch, done.Epoch)
		}
		k.post(func(at time.Time, _ job.Instant) slot.Event { return slot.Acknowledged{At: at, Claim: done.Claim} })
	})
}

// request asks the matchmaker and decodes its answer.
func request[A any](ctx context.Context, d *Daemon, patience time.Duration, verb string, message any) (A, error) {
	var none A
	data, err := wire.Encode(message)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := d.cfg.Bus.Request(ctx, wire.AgentSubject(d.cfg.Agent, verb), data)
	if err != nil {
		return none, err
	}
	return wire.Decode[A](answer)
}
