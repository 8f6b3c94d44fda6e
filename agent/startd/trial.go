package startd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"skua/agent/starter"
	"skua/internal/diag"
	"skua/internal/job"
)

// Whether a job can be checkpointed should be known before its machine's owner is back. So some seconds after
// its start an image is made of it, as long as that is small, and thrown away.

// trialMost is the largest job, in bytes of memory, that is tried.
const trialMost = 256 << 20

// tryDue reports whether the job is to be tried now. It says so once in a run.
func (t *tenant) tryDue(now time.Time) bool {
	if t.cmd.SelfCheckpoint || !t.k.d.cfg.Starter.CanCheckpoint() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	due := !t.tried && !t.stands() && !t.since.IsZero() && now.Sub(t.since) >= t.k.d.cfg.TrialAfter &&
		t.brought.Wall == 0 && t.used.MaxRSS <= trialMost // what came as an image has shown that it can
	t.tried = t.tried || due
	return due
}

// tryOut finds out whether the job can be checkpointed as it is. It stands still for that moment.
func (t *tenant) tryOut(ctx context.Context, in Init) {
	t.standForImage()
	ended := t.k.d.load.helping()
	stats, err := in.Checkpoint(ctx, true)
	ended()
	t.standAsWanted(in)
	if clearErr := clearDir(in.ImageDir()); clearErr != nil {
		t.log.Warn("remains of a trial image", diag.KeyError, clearErr)
	}
	if ctx.Err() != nil || errors.Is(err, starter.ErrNoJob) || errors.Is(err, starter.ErrGone) {
		return
	}
	trial := &job.Trial{}
	if err != nil {
		trial.Failed = err.Error()
		if cause := errors.Unwrap(err); cause != nil {
			trial.Failed = cause.Error() // without the claim's name
		}
		t.log.Info("job cannot be checkpointed as it is", "why", trial.Failed)
	} else {
		t.log.Debug("job can be checkpointed", diag.KeyBytes, stats.Bytes, diag.KeyTook, stats.Took)
	}
	t.mu.Lock()
	t.trial = trial // the next renewal tells it
	t.mu.Unlock()
}

// standForImage has the job, once the image has frozen it, stand still until standAsWanted: what is copied after its
// memory must be as it was then, and nothing that the job could change meanwhile.
func (t *tenant) standForImage() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.imaging = true
}

// standAsWanted has the job, which was frozen for an image, go on unless the keeper wants it to stand still.
func (t *tenant) standAsWanted(in Init) {
	still := func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.imaging = false // the keeper may have it go on by itself again
		return t.stands()
	}
	if still() {
		t.cold = time.Time{} // an image has used all of its memory
		return
	}
	if err := in.Thaw(); err != nil {
		t.log.Warn("thaw the job", diag.KeyError, err)
	}
	if still() { // since a moment ago
		t.stand(func() {})
	}
}

// tested is what is known of whether the job can be checkpointed; nil if nothing is.
func (t *tenant) tested() *job.Trial {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trial
}

// clearDir removes what is in a directory.
func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
