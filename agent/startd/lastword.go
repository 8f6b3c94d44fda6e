package startd

import (
	"context"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
	"skua/internal/wire"
)

// An agent may find a claim whose slot is no longer here: it has been started under another name, with fewer slots or
// with the other kind of them. Nothing goes on with such a claim, but how it ended is told, which takes no slot. Until
// that has arrived it stays on disk, for the next agent if need be.

// lastWord is the report of a claim that has no slot.
type lastWord struct {
	claim  job.ClaimID // the first of those that have had the directory, which it names
	done   wire.Done
	resend time.Duration // how long to wait for the answer
}

// maxWordWait is the longest pause between two attempts to report claims that have no slots.
const maxWordWait = time.Minute

// lastWordOf ends what lives of a claim that has no slot, and gives its report: the one that it has made, else that the
// job has to run again. It is false when the job could not be ended: then it may still run, and runs elsewhere after
// the lease only.
func (d *Daemon) lastWordOf(claim job.ClaimID, rec claimRecord) (lastWord, bool) {
	offer := rec.Offer
	w := lastWord{claim: claim, resend: terms(offer.Terms).Resend}
	ended := d.cfg.Starter.Remove(claim)
	if ended != nil {
		d.log.Warn("end what a claim left", diag.KeyClaim, claim, diag.KeyError, ended)
	}
	if err := readJSON(d.claimDir(claim), reportFile, &w.done); err == nil && w.done.Claim == offer.Claim {
		return w, true // else it is that of the claim before
	}
	w.done = wire.Done{
		V: wire.Version, ClaimRef: wire.ClaimRef{Job: offer.Job, Claim: offer.Claim, Epoch: offer.Epoch},
		Outcome: wire.Evicted, Reason: "the agent on " + d.cfg.Machine + " was restarted without " + offer.Slot + ", and the job was ended",
	}
	return w, ended == nil
}

// tellLastWords reports how claims that have no slots ended, again and again until all reports have been acknowledged
// or ctx ends.
func (d *Daemon) tellLastWords(ctx context.Context, words []lastWord) error {
	wait := time.Second
	for {
		var left []lastWord
		for _, w := range words {
			if !d.tellLastWord(ctx, w) {
				left = append(left, w)
			}
		}
		if len(left) == 0 || pause.For(ctx, wait) != nil {
			return nil // what is left is on disk
		}
		words, wait = left, min(2*wait, maxWordWait)
	}
}

// tellLastWord reports how one claim ended. When that has been acknowledged, whether or not it counted, nothing is left
// of the claim.
func (d *Daemon) tellLastWord(ctx context.Context, w lastWord) (told bool) {
	ack, err := request[wire.Ack](ctx, d, w.resend, wire.VerbDone, w.done)
	if err == nil {
		err = ack.Fail.Err()
	}
	if err != nil {
		d.log.Debug("the report of a claim without a slot is not acknowledged", diag.KeyJob, w.done.Job, diag.KeyError, err)
		return false
	}
	d.log.Info("claim without a slot is reported",
		diag.KeyJob, w.done.Job, diag.KeyEpoch, w.done.Epoch, "outcome", w.done.Outcome, "stale", ack.Stale)
	if d.removeClaim(w.claim) {
		d.remains.remove(w.done.Claim)
	}
	return true
}
