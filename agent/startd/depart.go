package startd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"skua/agent/checkpoint"
	"skua/agent/slot"
	"skua/agent/starter"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// depart ends the claim with a checkpoint where one can be had. The keeper cuts it short when the
// policy's time is up; then the newest complete image stands.
func (t *tenant) depart(ctx context.Context, in Init, why string) (wire.Done, bool) {
	var used job.Usage
	var err error
	_, taken := t.taken()
	switch {
	case t.cmd.SelfCheckpoint:
		used, err = t.departByItself(ctx, in)
	case taken || t.k.d.cfg.Starter.CanCheckpoint(): // an agent that has just been started may not know yet whether it can
		used, err = t.departByImage(ctx, in, why)
	default:
		err = errors.New("this machine cannot checkpoint it")
	}
	// A job that could not be saved or told because it had just ended has its result.
	if err != nil && ctx.Err() == nil && (!t.cmd.SelfCheckpoint || errors.Is(err, starter.ErrNoJob)) {
		if exit, ok := t.endedItself(in); ok {
			return t.finish(ctx, in, exit)
		}
	}
	if err != nil && !t.cmd.SelfCheckpoint && ctx.Err() == nil && !errors.Is(err, errDiscarded) {
		err = t.departAsItIs(ctx, in, err)
	}
	if ctx.Err() != nil {
		return t.failed(ctx, in, ctx.Err())
	}
	if errors.Is(err, errDiscarded) {
		t.end(in)
		return wire.Done{}, false
	}
	if errors.As(err, new(*holdError)) {
		return t.failed(ctx, in, err)
	}
	if err != nil {
		t.log.Warn("job leaves without a checkpoint", diag.KeyError, err)
		why += "; no checkpoint was made: " + err.Error()
	}
	last := t.end(in)
	if used.Wall == 0 {
		used = last
	}
	now := t.traffic()
	used.Sent, used.Transfers = now.Sent, now.Transfers
	return wire.Done{Outcome: wire.Evicted, Reason: why, Usage: used}, true
}

// endedItself reports whether the job has ended by itself, and how.
func (t *tenant) endedItself(in Init) (starter.Exit, bool) {
	select {
	case <-in.Done():
		exit := in.Exit()
		return exit, exit.Err == "" && exit.Job == t.offer.Job
	default:
		return starter.Exit{}, false
	}
}

// departAsItIs has a job leave that cannot be checkpointed, for the reason why. One that asked for a
// signal gets it, and time to react. Of one that wants to take with it what it has made so far
// (when_to_transfer_output = ON_EXIT_OR_EVICT) that is stored; it will begin again with those files.
func (t *tenant) departAsItIs(ctx context.Context, in Init, why error) error {
	if t.cmd.Stop.Asked || t.cmd.Transfers.OnEvict {
		// One that has ended meanwhile cannot be told, and has its files all the same.
		if _, err := t.askToEnd(ctx, in, t.cmd.Stop.Signal); err != nil && !errors.Is(err, starter.ErrNoJob) {
			return fmt.Errorf("%w; nor can it be asked to leave: %w", why, err)
		}
	}
	if ctx.Err() != nil || !t.cmd.Transfers.OnEvict {
		return why
	}
	if err := in.Kill(); err != nil { // nothing may write to the files from here on
		return fmt.Errorf("%w; nor can it be ended: %w", why, err)
	}
	<-in.Done()
	t.imaged()
	return t.storeSoFar(ctx, in)
}

// askToEnd sends the job a signal and waits for its end, as long as the job says or else until ctx ends.
func (t *tenant) askToEnd(ctx context.Context, in Init, signal int) (ended bool, err error) {
	t.stand(func() { t.frozen, t.yields = false, false }) // it must hear that
	if err := in.Signal(signal); err != nil {
		return false, err
	}
	if t.cmd.Stop.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.cmd.Stop.Wait)
		defer cancel()
	}
	select {
	case <-ctx.Done():
		return false, nil
	case <-in.Done():
		return true, nil
	}
}

// dismissed ends a job that its user has removed or held, once it has had its signal. Nobody waits for
// its report, which brings the claim to its end all the same.
func (t *tenant) dismissed(ctx context.Context, in Init, why string, signal int) (wire.Done, bool) {
	if _, err := t.askToEnd(ctx, in, signal); err != nil {
		t.log.Warn("tell the job that it must end", diag.KeyError, err)
	}
	if ctx.Err() != nil {
		return t.failed(ctx, in, ctx.Err())
	}
	return wire.Done{Outcome: wire.Evicted, Reason: why, Usage: t.end(in)}, true
}

// departByImage freezes the job for good and stores its image.
func (t *tenant) departByImage(ctx context.Context, in Init, why string) (used job.Usage, err error) {
	taken, err := t.takeImage(ctx, in, why)
	if err != nil {
		return used, err
	}
	meta, err := checkpoint.ReadMeta(in.ImageDir())
	if err != nil {
		return used, err
	}
	used = t.sinceStart(meta.Used)
	used.Checkpoints += taken.CPU
	t.imaged()
	size, err := t.deposit(ctx, tree(in), []string{scratchName, imageName}, job.Image{
		Kind: job.CRIUImage, At: taken.At.UTC(), Agent: t.k.d.cfg.Agent, Usage: jobUsage(meta.Used), Fit: t.k.d.needsOf(meta),
	})
	if err == nil {
		t.log.Info("job is checkpointed", diag.KeyBytes, size, "dump", taken.Dump, diag.KeyTook, time.Since(taken.At))
	}
	return used, err
}

// takeImage has the job dumped, unless an earlier agent has: from then on there is no job, and its image is all that
// is left of its work.
func (t *tenant) takeImage(ctx context.Context, in Init, why string) (takenRecord, error) {
	if taken, ok, err := t.beginImage(ctx, in, why); ok || err != nil {
		return taken, err
	}
	taken := takenRecord{Claim: t.offer.Claim, At: time.Now(), Why: why}
	if err := t.roomForImage(ctx, in); err != nil {
		t.forgetTaken()
		return taken, err
	}
	stats, err := t.dump(ctx, in, false, t.k.d.policy().MaxVacateTime)
	if err != nil {
		if ctx.Err() == nil { // else the init may still make it
			t.forgetTaken()
		}
		return taken, err
	}
	taken.Dump, taken.CPU = stats.Took, stats.CPU
	t.noteTaken(taken)
	return taken, nil
}

// roomForImage gives an error if the image of a job that leaves would take more of the disk than is free beside what is kept
// free. Only what is not known to fit is measured: the peak of a job may be long ago, and much of it in files.
func (t *tenant) roomForImage(ctx context.Context, in Init) error {
	room := spare(in.Scratch(), 0)
	if t.traffic().MaxRSS <= room {
		return nil
	}
	const most, exactly = 5 * time.Second, 1
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	r, err := in.Look(ctx, exactly)
	if need := r.Memory + r.Swapped; err == nil && need > room { // if nobody knows, CRIU will see
		return fmt.Errorf("the disk has no room for its image: that takes %s, and what is to stay free leaves %s", size(need), size(max(0, room)))
	}
	return nil
}

// beginImage gives the image for which an earlier agent has had the job dumped. If there is none, the job can be dumped now,
// and the next agent will know: the init makes the image to the end, whether or not there still is an agent then.
func (t *tenant) beginImage(ctx context.Context, in Init, why string) (taken takenRecord, ok bool, err error) {
	if t.executing().IsZero() { // an earlier agent began the job, and may not have waited for an image that it had asked for
		if err := in.Settle(ctx); err != nil && !errors.Is(err, starter.ErrGone) {
			return taken, false, err
		}
	}
	taken, ok = t.taken()
	if _, running := in.Job(); ok && !running {
		return taken, true, nil
	}
	if err := clearDir(in.ImageDir()); err != nil { // what is in it must not be taken for this image
		return taken, false, err
	}
	t.noteTaken(takenRecord{Claim: t.offer.Claim, At: time.Now(), Why: why})
	return taken, false, nil
}

// departByItself signals the job to save its state and leave. What it saved counts only if it leaves
// with the agreed exit code: files caught in the middle of a write must not replace a good set.
func (t *tenant) departByItself(ctx context.Context, in Init) (used job.Usage, err error) {
	ended, err := t.askToEnd(ctx, in, t.cmd.Stop.Signal)
	if errors.Is(err, starter.ErrNoJob) { // it had ended before it could be told, and the news is on its way
		select {
		case <-ctx.Done():
		case <-in.Done():
			if t.savedItself(in.Exit()) {
				ended, err = true, nil
			}
		}
	}
	switch {
	case err != nil:
		return used, err
	case ctx.Err() != nil:
		return used, ctx.Err()
	case !ended:
		return used, fmt.Errorf("asked to save its state it had not left after %v", t.cmd.Stop.Wait)
	}
	exit := in.Exit()
	if exit.Err != "" {
		return used, errors.New(exit.Err)
	}
	used = t.sinceStart(exit.Usage)
	if !t.savedItself(exit) {
		return used, fmt.Errorf("asked to save its state it left with exit code %d and signal %d, not with its checkpoint code %d",
			exit.Code, exit.Signal, t.cmd.CheckpointExit)
	}
	t.imaged()
	return used, t.storeOwnFiles(ctx, in)
}

// imaged tells the slot that all that is left of the job is on this machine's disk and has only to be sent. The owner
// has the machine by then. When five hundred owners come at a time, it takes a while until the network has carried
// all of it; the job's work is safe meanwhile as long as this machine is.
func (t *tenant) imaged() {
	t.gone()
	t.k.post(func(at time.Time, _ job.Instant) slot.Event { return slot.Imaged{At: at, Claim: t.offer.Claim} })
}

// savedItself reports whether the job left to be started again.
func (t *tenant) savedItself(exit starter.Exit) bool {
	return t.cmd.SelfCheckpoint && exit.Err == "" && exit.Signal == 0 && exit.Code == t.cmd.CheckpointExit
}

// storeOwnFiles stores what a job that saved its own state declared (transfer_checkpoint_files), or
// its whole scratch directory, together with its output so far.
func (t *tenant) storeOwnFiles(ctx context.Context, in Init) error {
	at := time.Now()
	names := []string{scratchName}
	if list, ok := t.offer.Ad.Str("TransferCheckpoint"); ok {
		var err error
		if names, err = t.declaredCheckpoint(in, strings.Split(list, ",")); err != nil {
			return err
		}
	}
	size, err := t.depositFiles(ctx, in, names, at)
	if err == nil {
		t.log.Info("job saved its own state", diag.KeyBytes, size, diag.KeyTook, time.Since(at))
	}
	return err
}

// declaredCheckpoint names what is stored of a job that declared the files of its own checkpoint. One that did not make them
// is held: it could not go on from what there is.
func (t *tenant) declaredCheckpoint(in Init, declared []string) ([]string, error) {
	root, err := os.OpenRoot(in.Scratch())
	if err != nil {
		return nil, fmt.Errorf("store the job's files: %w", err)
	}
	defer root.Close()
	var names []string
	for _, name := range []string{t.cmd.Stdout, t.cmd.Stderr} {
		if _, err := root.Stat(name); err == nil {
			names = append(names, path.Join(scratchName, name))
		}
	}
	for _, name := range declared {
		name = path.Clean(strings.TrimSpace(name))
		if name == "." {
			continue
		}
		if _, err := root.Stat(name); err != nil {
			return nil, &holdError{code: job.HoldTransferOutput, subcode: errnoNoEntry, reason: fmt.Sprintf(
				"the job declared the checkpoint file %s and left without having made it; it left %s", name, whatIsThere(root, ""))}
		}
		names = append(names, path.Join(scratchName, name))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// storeSoFar stores what the job, which has ended, has made so far: the outputs that it declared, as far
// as they are there, or its whole scratch directory.
func (t *tenant) storeSoFar(ctx context.Context, in Init) error {
	at := time.Now()
	root, err := os.OpenRoot(in.Scratch())
	if err != nil {
		return fmt.Errorf("store the job's files: %w", err)
	}
	defer root.Close()
	if !t.cmd.Transfers.KeepStreams { // the next run begins them anew
		for _, name := range []string{t.cmd.Stdout, t.cmd.Stderr} {
			if err := root.RemoveAll(name); err != nil {
				return fmt.Errorf("store the job's files: %w", err)
			}
		}
	}
	names := []string{scratchName}
	if list, ok := t.offer.Ad.Str("TransferOutput"); ok {
		names = nil
		for _, name := range append(strings.Split(list, ","), t.cmd.Stdout, t.cmd.Stderr) {
			name = path.Clean(strings.TrimSpace(name))
			if _, err := root.Stat(name); err == nil && name != "." && !slices.Contains(names, scratchName+"/"+name) {
				names = append(names, scratchName+"/"+name)
			}
		}
	}
	if len(names) == 0 {
		return errors.New("it has made none of its outputs yet")
	}
	size, err := t.depositFiles(ctx, in, names, at)
	if err == nil {
		t.log.Info("job leaves with its files", diag.KeyBytes, size, diag.KeyTook, time.Since(at))
	}
	return err
}

func (t *tenant) depositFiles(ctx context.Context, in Init, names []string, at time.Time) (size int64, err error) {
	return t.deposit(ctx, tree(in), names, job.Image{Kind: job.FileImage, At: at.UTC(), Agent: t.k.d.cfg.Agent})
}

// dropImage tells the matchmaker that the job cannot go on from an image, and gives an error if the claim is to be given
// back. A damaged image is of no use. Any other is tried again elsewhere, until that has failed too often.
func (t *tenant) dropImage(ctx context.Context, img job.Image, why error) error {
	ack, err := t.ask(ctx, wire.Checkpoint{Dropped: img.Digest, Again: !errors.Is(why, ErrBadImage), Reason: why.Error()})
	if err == nil && ack.Kept {
		return fmt.Errorf("from its checkpoint, which is kept for another try: %w", why)
	}
	return err
}
