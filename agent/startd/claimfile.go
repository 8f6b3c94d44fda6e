package startd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	renameio "github.com/google/renameio/v2/maybe"

	"skua/agent/slot"
	"skua/agent/starter"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
)

// What the agent knows of a claim, in the claim's directory. The offer and the report are written before the message
// that depends on them is sent.
const (
	claimFile  = "claim.json"  // the offer that was taken
	takenFile  = "taken.json"  // that the job is being or has been dumped to leave, and its image is on its way out
	usageFile  = "usage.json"  // what the job has used that does not count, or counts besides
	reportFile = "report.json" // how the claim ended
)

// claimRecord is the content of the claim file.
type claimRecord struct {
	V     int        `json:"v"`
	Offer wire.Offer `json:"offer"`

	Limits    limits `json:"limits"`              // of the job, as the machine was when the offer was taken
	Suspended bool   `json:"suspended,omitempty"` // by its user

	Share *policy.Parts `json:"share,omitempty"` // of a dynamic slot: what was carved out for it
}

// takenRecord is the content of the file that says that the job is dumped.
type takenRecord struct {
	Claim job.ClaimID   `json:"claim"`
	At    time.Time     `json:"at"`               // when it was frozen for that
	Dump  time.Duration `json:"dump_ns"`          // how long that took; 0 until it is over
	CPU   time.Duration `json:"cpu_ns,omitempty"` // of that
	Why   string        `json:"why"`              // it leaves
}

// noteTaken has an agent that is started again know that the job is dumped to leave. That is not flushed: once the machine
// has been restarted there is neither a job nor an image that could be relied on.
func (t *tenant) noteTaken(rec takenRecord) {
	if err := writeJSON(t.dir, takenFile, rec, false); err != nil {
		t.log.Warn("an agent that is started again will not know of the job's image", diag.KeyError, err)
	}
}

// forgetTaken is noteTaken's counterpart, for a dump that has failed.
func (t *tenant) forgetTaken() {
	if err := os.Remove(filepath.Join(t.dir, takenFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.log.Warn("an agent that is started again will have the job leave", diag.KeyError, err)
	}
}

// taken tells of the image that an agent, this one or an earlier one, has taken of the job for it to leave, or was about
// to.
func (t *tenant) taken() (rec takenRecord, ok bool) {
	err := readJSON(t.dir, takenFile, &rec)
	return rec, err == nil && rec.Claim == t.offer.Claim // else it is that of a claim before
}

// persistClaim takes the offer: the claim file is on disk when it returns.
func (k *keeper) persistClaim() error {
	k.tenant = newTenant(k, k.offer, k.offer.Claim)
	k.tenant.limits = k.limits()
	k.tenant.flushed = true
	return k.writeClaim()
}

// writeClaim writes down what an agent that is started again must know of the claim.
func (k *keeper) writeClaim() error {
	return writeJSON(k.tenant.dir, claimFile, k.record(), true)
}

func (k *keeper) record() claimRecord {
	rec := claimRecord{V: wire.Version, Offer: k.offer, Limits: k.tenant.limits, Suspended: k.slot.ByUser}
	if k.d.parts != nil {
		rec.Share = k.d.parts.of(k)
	}
	return rec
}

// forget removes the claim and all that belongs to it, once the tenant has ended.
func (k *keeper) forget() {
	t := k.tenant
	k.tenant = nil
	if t == nil {
		return
	}
	t.abandon()
	k.wg.Go(func() {
		<-t.ended
		t.leaveHome()
		if !k.d.removeClaim(t.chain) {
			return
		}
		k.d.remains.remove(t.offer.Claim)
		if t.reported().Outcome == "" {
			k.d.buried(wire.ClaimRef{Job: t.offer.Job, Claim: t.offer.Claim, Epoch: t.offer.Epoch})
		}
	})
}

// readopt brings back the claims that an earlier agent left on disk, into the slots they were made
// for, and gives the reports of those of which the slots are no longer here. A claim file that cannot be read is set
// aside and named; it does not keep the agent from work.
func (d *Daemon) readopt(ctx context.Context) ([]lastWord, error) {
	entries, err := os.ReadDir(d.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for claims: %w", err)
	}
	var words []lastWord
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		claim := job.ClaimID(e.Name()) // the first of those that have had the directory
		var rec claimRecord
		err := readJSON(d.claimDir(claim), claimFile, &rec)
		k := d.keeperOf(rec.Offer.Slot)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.log.Info("directory without a claim is removed", diag.KeyClaim, claim)
		case err != nil:
			d.log.Warn("claim file cannot be read; its job will run elsewhere after the lease", diag.KeyClaim, claim, diag.KeyError, err)
		case k == nil || k.tenant != nil || (rec.Share != nil) != (d.parts != nil):
			d.log.Warn("claim of a slot that is no longer here", diag.KeyClaim, claim, diag.KeySlot, rec.Offer.Slot)
			d.remains.add(rec.Offer.Claim)
			if w, ok := d.lastWordOf(claim, rec); ok {
				words = append(words, w)
			}
			continue
		default:
			if d.parts != nil {
				d.parts.restore(k, rec.Offer.Claim, *rec.Share)
			}
			d.remains.add(rec.Offer.Claim) // until the slot has it
			k.readopt(ctx, rec, claim)
			continue
		}
		if !d.removeClaim(claim) {
			d.remains.addUnknown()
		}
	}
	return words, nil
}

// removeClaim ends whatever of a claim still lives and removes its files. It is false when it could not.
func (d *Daemon) removeClaim(claim job.ClaimID) bool {
	err := d.cfg.Starter.Remove(claim)
	if err == nil {
		err = os.RemoveAll(d.claimDir(claim))
	}
	if err != nil {
		d.log.Warn("remove what a claim left", diag.KeyClaim, claim, diag.KeyError, err)
	}
	return err == nil
}

func (d *Daemon) keeperOf(name string) *keeper {
	for _, k := range d.keepers {
		if k.name == name {
			return k
		}
	}
	return nil
}

// readopt takes a claim up where the earlier agent left it: with its report if there is one, with its
// job if that still runs, else with the report that the job was lost.
func (k *keeper) readopt(ctx context.Context, rec claimRecord, chain job.ClaimID) {
	offer := rec.Offer
	k.offer, k.cfg.Terms = offer, terms(offer.Terms)
	t := newTenant(k, offer, chain)
	t.limits = rec.Limits
	t.recallUsage()
	k.tenant = t
	at, now := time.Now(), k.d.cfg.Clock()

	var done wire.Done
	if err := readJSON(t.dir, reportFile, &done); err == nil && done.Claim == offer.Claim { // else it is that of the claim before
		t.report = done
		t.abandon()
		tenancy, acts := job.ReadoptReport(offer.Job, offer.Claim, offer.Epoch, now, k.cfg.Terms)
		k.post(func(time.Time, job.Instant) slot.Event { return slot.Readopted{At: at, Tenancy: tenancy, Acts: acts} })
		return
	}
	in, err := k.d.cfg.Starter.Adopt(ctx, chain)
	taken, leaves := t.taken()
	if leaves && (errors.Is(err, starter.ErrGone) || err == nil && over(in) && !hasEnded(in, offer.Job)) {
		// An init without a job does not wait long for an agent. If it has left word of a job's end, it is of the job before.
		in, err = k.d.cfg.Starter.Leftover(chain)
	}
	if err != nil {
		k.log.Warn("the job of a claim is lost", diag.KeyJob, offer.Job, diag.KeyError, err)
		t.abandon()
		t.conclude(wire.Done{Outcome: wire.Evicted, Reason: "the agent on " + k.d.cfg.Machine + " was restarted and the job was lost"})
		tenancy, acts := job.ReadoptReport(offer.Job, offer.Claim, offer.Epoch, now, k.cfg.Terms)
		k.post(func(time.Time, job.Instant) slot.Event { return slot.Readopted{At: at, Tenancy: tenancy, Acts: acts} })
		return
	}
	k.log.Info("job is adopted again", diag.KeyJob, offer.Job, diag.KeyEpoch, offer.Epoch)
	// What is left of the lease is the init's business until the first grant: it was told, counts by
	// itself, and freezes the job when it is over. So a full lease may stand here meanwhile.
	tenancy, acts := job.Readopt(offer.Job, offer.Claim, offer.Epoch, now.Add(k.cfg.Terms.Lease), now, k.cfg.Terms)
	leaves = leaves && !hasEnded(in, offer.Job) // before it could be dumped
	t.leaves = leaves
	k.post(func(at time.Time, _ job.Instant) slot.Event {
		ev := slot.Readopted{At: at, Tenancy: tenancy, Acts: acts, ByUser: rec.Suspended, Throttled: k.connected() && k.d.policy().InUseCPUs(1) > 0}
		if leaves { // with or without a job that is frozen for that
			t.adopt(ctx, in)
			return ev
		}
		if !hasJob(in, offer.Job) {
			// The earlier agent had not got as far as to start it.
			in.Close()
			t.start(ctx)
			return ev
		}
		// The job was frozen for an owner who may have gone since, or an owner came whom nobody saw.
		v := k.verdicts(at)
		ev.Suspended = in.Frozen() || v.WantSuspend && v.Suspend
		t.adopt(ctx, in)
		return ev
	})
	if leaves { // which it goes on with
		k.post(func(at time.Time, _ job.Instant) slot.Event {
			return slot.VacateAsked{At: at, Claim: offer.Claim, Why: taken.Why}
		})
	}
}

// hasJob reports whether an adopted init has the job, one that has ended included.
func hasJob(in Init, id job.ID) bool {
	has, running := in.Job()
	return has == id && running || hasEnded(in, id)
}

// hasEnded reports whether the job of an adopted init is this one, not the one before, and has ended.
func hasEnded(in Init, id job.ID) bool {
	has, _ := in.Job()
	return has == id && over(in)
}

// over reports whether an adopted init has said of its last job that it has ended.
func over(in Init) bool {
	select {
	case <-in.Done():
		return true
	default:
		return false
	}
}

// writeJSON writes a file of a claim in the place of what it was. With durable it is on disk when it returns.
func writeJSON(dir, name string, v any, durable bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	path := filepath.Join(dir, name)
	if durable {
		err = renameio.WriteFile(path, data, 0o600)
	} else if err = os.WriteFile(path+".tmp", data, 0o600); err == nil {
		err = replace(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func readJSON(dir, name string, into any) error {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return nil
}
