package server

import (
	"cmp"
	"context"
	"errors"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
	"skua/policy"
)

// refused ends an offer that the agent does not want.
func (k *keeper) refused(ctx context.Context, agent job.AgentID, claim job.ClaimID, reason string) {
	k.returned(ctx, agent, claim, reason)
	if k.grant.Phase != job.Offering || k.grant.Agent != agent || k.grant.Claim != claim {
		return
	}
	k.rest()
	if err := k.commit(ctx, &job.Declined{Job: k.grant.Job, Epoch: k.grant.Epoch, Reason: shorten(reason)}); err != nil {
		return // the offer ends by its time
	}
	k.log.Info("offer refused", "why", shorten(reason))
	k.grant.Phase = job.Over
}

// renew answers an agent that takes the claim or holds it. slot is what it has carved out for it, "" for
// nothing. r is what it says of the job, nil when it has only accepted.
func (k *keeper) renew(ctx context.Context, m bus.Msg, agent job.AgentID, claim job.ClaimID, slot string, r *wire.Renew) {
	j, stands := k.job()
	next, record, ruling := k.grant.Renew(agent, claim, k.s.cfg.Clock(), k.terms)
	if !stands || ruling == job.Gone {
		k.s.reply(m, wire.Grant{V: wire.Version, Gone: true})
		return
	}
	if record == job.RecordRevival {
		room := k.s.limits.enter(k.s)
		defer room.leave()
		if !room.take(j, k.s.slotAd(j.Claim.Agent, j.Claim.Slot)) {
			// Another job has come into its place. Too many at a time is what a limit forbids; this one goes on
			// from its newest image when there is room again.
			k.log.Info("claim does not revive: a concurrency limit is full")
			k.s.reply(m, wire.Grant{V: wire.Version, Gone: true})
			return
		}
	}
	var bodies []job.Body
	state := j.State
	switch record {
	case job.RecordStart:
		started := &job.Started{Job: j.ID, Epoch: j.Epoch}
		if slot != j.Claim.Slot && len(slot) <= 255 && policy.ParentName(slot) == j.Claim.Slot {
			started.Slot = slot
		}
		bodies = append(bodies, started)
		state = job.Running
	case job.RecordRevival:
		bodies = append(bodies, &job.Revived{Job: j.ID, Epoch: j.Epoch})
		state = job.Running
	}
	if r != nil {
		switch {
		case r.Paused != "" && state == job.Running:
			bodies = append(bodies, &job.Paused{Job: j.ID, Epoch: j.Epoch, Reason: shorten(r.Paused)})
		case r.Paused == "" && state == job.Suspended:
			bodies = append(bodies, &job.Continued{Job: j.ID, Epoch: j.Epoch})
		}
		trial := r.Trial
		if trial != nil {
			trial = &job.Trial{Failed: shorten(trial.Failed)}
			if trial.Failed == j.NoImage {
				trial = nil
			}
		}
		if k.measure(r.Usage) || j.Executing.IsZero() && !r.Executing.IsZero() || trial != nil {
			bodies = append(bodies, &job.Measured{Job: j.ID, Epoch: j.Epoch, Usage: r.Usage, Executing: r.Executing, Trial: trial})
		}
	}
	if err := k.commit(ctx, bodies...); errors.Is(err, queue.ErrMisfit) {
		k.s.reply(m, wire.Grant{V: wire.Version, Gone: true})
		return
	} else if err != nil {
		return // no answer: the agent asks again
	}
	k.grant, k.again, k.heard = next, false, time.Now()
	switch record {
	case job.RecordStart:
		k.started = time.Now()
		k.log.Info("job runs", diag.KeySlot, cmp.Or(slot, j.Claim.Slot))
	case job.RecordRevival:
		k.log.Info("machine is heard of again, its claim revives", diag.KeySlot, j.Claim.Slot)
	}
	read, write, err := k.s.capabilities(j, k.terms)
	if err != nil {
		k.log.Error("capabilities cannot be made", diag.KeyError, err)
		return
	}
	k.s.reply(m, wire.Grant{V: wire.Version, Read: read, Write: write, Do: k.wanted(r)})
}

// wanted is what the agent is told again. That a job is to go on has been heeded once it does.
func (k *keeper) wanted(r *wire.Renew) wire.ControlVerb {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if k.wish.do == wire.ContinueClaim && r != nil && r.Paused != wire.PausedByUser {
		k.wish = wish{}
	}
	return k.wish.do
}

// finish takes the report of how the claim ended.
func (k *keeper) finish(ctx context.Context, m bus.Msg, agent job.AgentID, done wire.Done) {
	j, stands := k.job()
	next, ruling := k.grant.Finish(agent, done.Claim)
	if ruling == job.Counts {
		k.departed(ctx)
	}
	if !stands || ruling == job.Stale {
		k.s.reply(m, wire.Ack{V: wire.Version, Stale: true})
		return
	}
	if done.Outcome == wire.Killed { // it took the claim for dead, which is not so here: a grant came too late, or was lost
		done.Outcome, done.Reason = wire.Evicted, "its machine knows nothing of the job: it may not have heard that it has it"
	}
	now := time.Now()
	bodies, err := k.s.outcome(j, done, now)
	if err != nil {
		// The agent keeps the files until its report counts, and sends it again. If the answer does not come while the lease
		// stands, the job runs again.
		if !k.waits {
			k.log.Warn("report has to wait", diag.KeyError, err)
			k.waits = true
		}
		k.s.reply(m, wire.Ack{V: wire.Version, Fail: wire.Fail(err)})
		return
	}
	atOnce := k.grant.Phase == job.Offering || now.Sub(k.started) < soon
	switch b := bodies[0].(type) {
	case *job.Evicted:
		switch wish := k.s.wishFor(j); {
		case done.Outcome == wire.Hold: // it needs more memory, for which the slot is not to blame
		case wish.leaves():
			b.Reason = wish.reason
		case atOnce:
			k.rest()
			if len(j.Avoid) > 1 { // others have given it back before: it may be the job that is to blame
				k.s.restJob(j.ID)
			}
		default:
			k.s.again.clear(j.ID)
		}
	case *job.Requeued:
		if atOnce {
			k.s.restJob(j.ID)
		} else {
			k.s.again.clear(j.ID)
		}
		k.s.rests.clear(parentKey(agent, j.Claim.Slot))
	default:
		k.s.rests.clear(parentKey(agent, j.Claim.Slot))
	}
	if ended, ok := bodies[0].(*job.Ended); ok && len(bodies) == 1 && done.More && k.follow(ctx, m, j, ended) {
		k.grant = next
		k.log.Info("claim ended", "outcome", ended.Kind(), diag.KeySlot, j.Claim.Slot)
		return
	}
	if err := k.commit(ctx, bodies...); errors.Is(err, queue.ErrMisfit) {
		k.departed(ctx) // the job was held at the same moment
		k.s.reply(m, wire.Ack{V: wire.Version, Stale: true})
		return
	} else if err != nil {
		k.s.reply(m, wire.Ack{V: wire.Version, Fail: wire.Fail(err)})
		return
	}
	k.grant = next
	k.log.Info("claim ended", "outcome", bodies[0].Kind(), diag.KeySlot, j.Claim.Slot)
	k.s.reply(m, wire.Ack{V: wire.Version})
}

// checkpoint takes the report of an image.
func (k *keeper) checkpoint(ctx context.Context, m bus.Msg, agent job.AgentID, c wire.Checkpoint) {
	j, stands := k.job()
	if !stands || k.grant.Store(agent, c.Claim) == job.Stale {
		k.s.reply(m, wire.Ack{V: wire.Version, Stale: true})
		return
	}
	body, err := k.s.imageEvent(j, agent, c)
	if made, ok := body.(*job.Checkpointed); ok && k.s.cfg.Settle != nil {
		err = k.s.cfg.Settle(ctx, j.ID, made.Image.Digest)
	}
	if err != nil {
		k.log.Warn("checkpoint is not taken", diag.KeyError, err)
		k.s.reply(m, wire.Ack{V: wire.Version, Fail: wire.Fail(err), Missing: errors.Is(err, blob.ErrNotFound)})
		return
	}
	if body != nil {
		if err := k.commit(ctx, body); errors.Is(err, queue.ErrMisfit) {
			k.s.reply(m, wire.Ack{V: wire.Version, Stale: true})
			return
		} else if err != nil {
			k.s.reply(m, wire.Ack{V: wire.Version, Fail: wire.Fail(err)})
			return
		}
		k.log.Info("image reported", "event", body.Kind())
	}
	ack := wire.Ack{V: wire.Version}
	if now, ok := k.s.cfg.Queue.Job(j.ID); ok && c.Again {
		_, ack.Kept = now.Image(c.Dropped)
	}
	k.s.reply(m, ack)
}
