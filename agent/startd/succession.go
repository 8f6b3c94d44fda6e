package startd

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"skua/agent/slot"
	"skua/agent/starter"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// When a job has ended, the answer to its report may bring the slot its next one. The claim's directory and
// its init then serve both: the init is made as new, and the claim file says whose it is now.

// keepHome ends the claim's work in an init without ending the init, for the job that may come with the
// answer to the report.
func (t *tenant) keepHome(in Init) {
	t.mu.Lock()
	spec := t.spec
	t.mu.Unlock()
	// Adopted, or restored: not as it was opened. And what a runtime root is mounted from stays only as long as the
	// tenant.
	if spec.Claim == "" || len(t.offer.Images) > 0 || spec.Runtime != "" {
		t.end(in)
		return
	}
	t.gone()
	t.measureAtEnd(in)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = home{in, spec}
}

// takeHome hands over the init that was kept, if one was.
func (t *tenant) takeHome() home {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.kept
	t.kept = home{}
	return h
}

// leaveHome ends the init that was kept, if one was.
func (t *tenant) leaveHome() {
	if h := t.takeHome(); h.init != nil {
		t.quit(h.init)
	}
}

// quit ends an init of which the job before was the last.
func (t *tenant) quit(in Init) {
	if err := in.Kill(); err != nil {
		t.log.Warn("end the init of the job before", diag.KeyError, err)
	}
	in.Close()
}

// moveIn makes the init of the job before as new. It is false when there is none, or it is not one for this
// job; then nothing is left of it.
func (t *tenant) moveIn(ctx context.Context, spec starter.ClaimSpec) (Init, bool) {
	h := t.takeHome()
	if h.init == nil {
		return nil, false
	}
	if !reflect.DeepEqual(h.spec, spec) {
		t.log.Debug("the machine's policy has changed: the job gets a new init")
	} else if err := h.init.Refresh(ctx); err != nil {
		t.log.Debug("the job gets a new init", "why", err)
	} else {
		t.mu.Lock()
		t.spec = spec
		t.mu.Unlock()
		return h.init, true
	}
	t.quit(h.init)
	return nil, false
}

// wantsMore says whether the slot would take another job with the answer to its report.
func (k *keeper) wantsMore() bool {
	v := k.slot.Verdicts
	return !k.d.leaving.Load() && !k.undecided() && k.slot.State == slot.Claimed && v.Start && !v.Draining
}

// succeeded turns the next job, which has come with the answer to the report of claim, into the slot's event.
// It runs on the keeper's goroutine.
func (k *keeper) succeeded(next wire.Offer, claim job.ClaimID, sent job.Instant, at time.Time, now job.Instant) slot.Event {
	ev := slot.Succeeded{
		At: at, Now: now, Sent: sent, Claim: claim,
		Next: job.Next{Job: next.Job, Claim: next.Claim, Epoch: next.Epoch},
	}
	if k.slot.Tenancy.Claim != claim || k.slot.Tenancy.Phase != job.Reporting {
		return ev // the report was answered before
	}
	k.next = next
	k.cfg.Terms = terms(next.Terms)
	v := slot.Verdicts{}
	if k.wantsMore() && next.Slot == k.name {
		v = k.verdictsFor(at, next.Ad)
	}
	k.mu.Lock()
	k.slot.Verdicts = v
	k.mu.Unlock()
	return ev
}

// persistNext makes the next job the slot's, with what is kept of the one before. The claim file names it
// when it returns, and is flushed before the claim is renewed for long.
func (k *keeper) persistNext() error {
	before := k.tenant
	t := newTenant(k, k.next, before.chain)
	t.limits = k.limits()
	k.offer, k.farewell = k.next, 0
	t.kept = before.takeHome()
	t.inheritThrottle(before)
	k.tenant = t
	if in := t.kept.init; in != nil {
		// A touch that came as the job before ended may have frozen it, and has been judged since.
		if in.Frozen() {
			if err := in.Thaw(); err != nil {
				t.log.Debug("thaw an empty claim", diag.KeyError, err)
			}
		}
		t.init.Store(&in)
	}
	t.lease = k.slot.Tenancy.Until
	if err := writeJSON(t.dir, claimFile, k.record(), false); err != nil {
		return err
	}
	// The report of the job before means nothing any more. Were it still there, the file system would write the
	// next one to the disk at once: ext4 does so with a file that takes another's place.
	if err := os.Remove(filepath.Join(t.dir, reportFile)); err != nil && !os.IsNotExist(err) {
		t.log.Debug("remove the report of the job before", diag.KeyError, err)
	}
	return nil
}

// flush puts what the claim's directory says onto the disk for good, once.
func (t *tenant) flush() error {
	t.mu.Lock()
	done := t.flushed
	t.mu.Unlock()
	if done {
		return nil
	}
	for _, name := range []string{claimFile, reportFile, "."} {
		f, err := os.Open(filepath.Join(t.dir, name))
		if os.IsNotExist(err) && name == reportFile {
			continue
		}
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flushed = true
	return nil
}
