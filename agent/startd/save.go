package startd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/policy"
)

// A job that goes on running has an image made of it from time to time. It stands still while its memory is written to
// the local disk and its files are copied there; what takes long, compressing and sending, is done while it runs.

// savingName is the directory, beside scratch and image, that has what is being sent.
const savingName = "saving"

// saves is what a tenant knows of the images that it makes while the job runs. Its work's goroutine owns it.
type saves struct {
	last time.Time          // when the newest was made or tried; zero before the first
	cost saveCost           // of that; what was spent is known once it has been sent
	ran  time.Duration      // the mean time between two cuts on this machine, as it was then
	cuts []time.Time        // when jobs were cut short on this machine
	read time.Time          // when that was read; zero if it was not
	stop context.CancelFunc // of the one that is being sent; nil while none is
	sent chan struct{}      // closed when it has been, or never will be
}

// saveDue reports whether an image is to be made now.
func (t *tenant) saveDue(now time.Time) bool { return t.saveTime(now) && t.maySend(now) }

// maySend reports whether the policy lets so much be sent that could wait.
func (t *tenant) maySend(now time.Time) bool {
	if t.k.d.policy().OnMetered != policy.MeteredNever {
		return true
	}
	metered, known := t.k.ad(now, t.k.state()).Bool("Metered")
	return known && !metered
}

// saveTime reports whether it is time for an image.
func (t *tenant) saveTime(now time.Time) bool {
	p := t.k.d.policy()
	if t.k.d.cfg.CopyTree == nil || !p.Periodic || t.cmd.SelfCheckpoint || !t.k.d.cfg.Starter.CanCheckpoint() {
		return false
	}
	s := &t.saves
	t.mu.Lock()
	still, since := t.stands(), t.since
	t.mu.Unlock()
	if still || since.IsZero() && s.last.IsZero() {
		return false
	}
	if s.stop != nil {
		select {
		case <-s.sent:
			s.stop()
			s.stop = nil
		default:
			return false
		}
	}
	if s.last.IsZero() {
		return now.Sub(since) >= p.MinInterval // what an image costs is seen by the first
	}
	switch gap := now.Sub(s.last); {
	case gap >= s.each(p):
		return true
	case gap < max(p.MinInterval, s.cost.least()):
		return false
	}
	return usualCut(t.cuts(now), now)
}

// cuts are the times at which jobs were cut short on this machine, as they were some minutes ago at most.
func (t *tenant) cuts(now time.Time) []time.Time {
	const readEach = 10 * time.Minute
	s := &t.saves
	if s.read.IsZero() || now.Sub(s.read) >= readEach {
		s.read = now
		if ran, err := t.k.d.Ran(); err == nil {
			s.cuts = cutsOf(ran)
		}
	}
	return s.cuts
}

// each is the time between two images.
func (s *saves) each(p *policy.Policy) time.Duration {
	return saveEach(s.cost, s.ran, p.MinInterval, p.MaxInterval)
}

// save makes an image of the job and has it sent. The job stands still until it is on the local disk.
func (t *tenant) save(ctx context.Context, in Init) {
	s := &t.saves
	if !t.roomToSave(in) {
		s.last = time.Now()
		t.log.Info("no image is made while the job runs: the disk has no room for it", "next", s.each(t.k.d.policy()))
		return
	}
	begun := time.Now()
	dir := filepath.Join(tree(in), savingName)
	t.standForImage()
	meta, dumped, err := t.snapshot(ctx, in, dir)
	t.standAsWanted(in)
	stood := time.Since(begun)
	s.last, s.cost = time.Now(), saveCost{still: stood, spent: max(dumped, s.cost.spent)}
	if ran, ranErr := t.k.d.Ran(); ranErr == nil {
		s.ran = betweenCuts(ran)
	}
	next := s.each(t.k.d.policy())
	if err != nil {
		_ = os.RemoveAll(dir)
		if ctx.Err() == nil {
			t.log.Info("no image could be made while the job runs", diag.KeyError, err, "next", next)
		}
		return
	}
	t.mu.Lock()
	t.trial = &job.Trial{} // whatever a trial has said: jobs change
	t.mu.Unlock()
	var sending context.Context
	sending, s.stop = context.WithCancel(ctx)
	sent := make(chan struct{})
	s.sent = sent
	t.k.wg.Go(func() {
		defer close(sent)
		defer os.RemoveAll(dir)
		before := t.traffic().Transfers
		size, err := t.send(sending, dir, begun, meta)
		s.cost.spent = dumped + t.traffic().Transfers - before // nobody else reads it until this has ended
		switch {
		case err == nil:
			t.log.Info("job is saved and goes on", diag.KeyBytes, size, "stood_still", stood, diag.KeyTook, time.Since(begun),
				"cpu", s.cost.spent, "next", s.each(t.k.d.policy()))
		case sending.Err() == nil:
			t.log.Warn("image of the running job is lost", diag.KeyError, err)
		}
	})
}

// roomToSave reports whether memory and files of the job can be there twice for a while.
func (t *tenant) roomToSave(in Init) bool {
	free, total, known := diskSpace(in.Scratch())
	t.mu.Lock()
	defer t.mu.Unlock()
	return !known || free-diskFloor(total) > t.used.MaxRSS+t.disk.had
}

// snapshot dumps the job, which then stands still, and leaves image and files in dir. It says what CRIU took of the
// processors.
func (t *tenant) snapshot(ctx context.Context, in Init, dir string) (meta checkpoint.Meta, spent time.Duration, err error) {
	stats, err := t.dump(ctx, in, true, 0)
	if err != nil {
		return meta, 0, err
	}
	if meta, err = checkpoint.ReadMeta(in.ImageDir()); err != nil {
		return meta, stats.CPU, err
	}
	image := filepath.Join(dir, imageName)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(image, 0o700)); err != nil {
		return meta, stats.CPU, err
	}
	if err := moveInto(in.ImageDir(), image); err != nil {
		return meta, stats.CPU, err
	}
	ctx, calm := t.whileCalm(ctx) // not before: a dump that is cut short ends the job
	defer calm()
	if err := context.Cause(ctx); err != nil {
		return meta, stats.CPU, err
	}
	t.mu.Lock()
	had := t.disk.had
	t.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, imageTime(had), errSlowCopy)
	defer cancel()
	defer t.k.d.load.helping()()
	err = t.k.d.cfg.CopyTree(ctx, in.Scratch(), filepath.Join(dir, scratchName))
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return meta, stats.CPU, err
}

// errHaste says why something was given up that the job's stay here has made worthwhile.
var errHaste = errors.New("the job has to stand still or to leave")

// errSlowCopy says why the copy for an image was given up.
var errSlowCopy = errors.New("the disk is too slow or too busy for a copy of the job's files")

// whileCalm gives a context that ends when somebody wants the job to stand still or to leave, for what the work's goroutine
// does that is not urgent. It is done with that when it calls calm.
func (t *tenant) whileCalm(ctx context.Context) (_ context.Context, calm func()) {
	ctx, stop := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hurry = func() { stop(errHaste) }
	if t.stands() || len(t.leave) > 0 {
		t.hurry()
	}
	return ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.hurry = nil
		stop(nil)
	}
}

// dump has CRIU make an image of the job, which may take as long as its memory needs, and never less than least.
func (t *tenant) dump(ctx context.Context, in Init, keep bool, least time.Duration) (checkpoint.Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, max(least, imageTime(t.traffic().MaxRSS)))
	defer cancel()
	defer t.k.d.load.helping()()
	return in.Checkpoint(ctx, keep)
}

// imageTime is how long CRIU may take for an image of so many bytes, to write it or to restore a job from it. What takes
// longer hangs, and ends with its job. The copy of so many bytes of files, for which the job stands still, has as long.
func imageTime(bytes int64) time.Duration {
	const slowest = 5 << 20 // bytes a second, of a disk that others use too
	return checkpoint.DefaultTimeout + time.Duration(bytes/slowest)*time.Second
}

// send stores what snapshot has left and tells the matchmaker.
func (t *tenant) send(ctx context.Context, dir string, at time.Time, meta checkpoint.Meta) (size int64, err error) {
	return t.deposit(ctx, dir, []string{scratchName, imageName}, job.Image{
		Kind: job.CRIUImage, At: at.UTC(), Agent: t.k.d.cfg.Agent, Usage: jobUsage(meta.Used), Fit: t.k.d.needsOf(meta),
	})
}

// stopSaving gives up the image that is being sent, and waits until that has ended: the one before it counts.
func (t *tenant) stopSaving() {
	if t.saves.stop != nil {
		t.saves.stop()
		<-t.saves.sent
		t.saves.stop = nil
	}
}

// copyTree copies a directory with all that is to be kept of a file: owner, mode, times, links, holes. Where the file
// system can, both share their blocks. No link in it is followed, so what the job has there is not trusted. Others have
// the processor first, and more of the disk; the idle class of that would hardly ever get to a busy one.
func copyTree(ctx context.Context, from, to string) error {
	args := []string{"cp", "--archive", "--reflink=auto", "--no-target-directory", "--", from, to}
	if ionice, err := exec.LookPath("ionice"); err == nil {
		args = append([]string{ionice, "-c", "2", "-n", "7"}, args...)
	}
	const lowest = "39" // from wherever the agent is
	out, err := exec.CommandContext(ctx, "nice", append([]string{"-n", lowest}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %.300s", from, err, out)
	}
	return nil
}
