package startd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"skua/agent/checkpoint"
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
	switch {
	case t.cmd.SelfCheckpoint:
		used, err = t.departByItself(ctx, in)
	case t.k.d.cfg.Starter.CanCheckpoint():
		used, err = t.departByImage(ctx, in)
	default:
		err = errors.New("this machine cannot checkpoint it")
	}
	if ctx.Err() != nil {
		return t.failed(ctx, in, ctx.Err())
	}
	if errors.Is(err, errDiscarded) {
		t.end(in)
		return wire.Done{}, false
	}
	if err != nil {
		t.log.Warn("job leaves without a checkpoint", diag.KeyError, err)
		why += "; no checkpoint was made: " + err.Error()
	}
	t.end(in)
	return wire.Done{Outcome: wire.Evicted, Reason: why, Usage: used}, true
}

// departByImage freezes the job for good and stores its image.
func (t *tenant) departByImage(ctx context.Context, in Init) (used job.Usage, err error) {
	frozenAt := time.Now()
	stats, err := in.Checkpoint(ctx, false)
	if err != nil {
		return used, err
	}
	meta, err := checkpoint.ReadMeta(in.ImageDir())
	if err != nil {
		return used, err
	}
	used = t.sinceStart(meta.Used)
	digest, size, err := t.storeImage(ctx, in, []string{scratchName, imageName})
	if err != nil {
		return used, fmt.Errorf("store the image: %w", err)
	}
	t.log.Info("job is checkpointed", diag.KeyBytes, size, "dump", stats.Took, diag.KeyTook, time.Since(frozenAt))
	return used, t.tell(ctx, wire.Checkpoint{Image: &job.Image{
		Kind: job.CRIUImage, Digest: digest, Bytes: size, At: frozenAt.UTC(), Agent: t.k.d.cfg.Agent,
		Usage: jobUsage(meta.Used),
	}})
}

// departByItself signals the job to save its state and leave. What it saved counts only if it leaves
// with the agreed exit code: files caught in the middle of a write must not replace a good set.
func (t *tenant) departByItself(ctx context.Context, in Init) (used job.Usage, err error) {
	t.thaw()
	if err := in.Signal(t.cmd.StopSignal); err != nil {
		return used, err
	}
	select {
	case <-ctx.Done():
		return used, ctx.Err()
	case <-in.Done():
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
	return used, t.storeOwnFiles(ctx, in)
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
		names = []string{scratchName + "/" + t.cmd.Stdout}
		if t.cmd.Stderr != t.cmd.Stdout {
			names = append(names, scratchName+"/"+t.cmd.Stderr)
		}
		for _, name := range strings.Split(list, ",") {
			names = append(names, scratchName+"/"+strings.TrimSpace(name))
		}
	}
	digest, size, err := t.storeImage(ctx, in, names)
	if err != nil {
		return fmt.Errorf("store the job's checkpoint files: %w", err)
	}
	t.log.Info("job saved its own state", diag.KeyBytes, size, diag.KeyTook, time.Since(at))
	return t.tell(ctx, wire.Checkpoint{Image: &job.Image{
		Kind: job.FileImage, Digest: digest, Bytes: size, At: at.UTC(), Agent: t.k.d.cfg.Agent,
	}})
}

// dropImage tells the matchmaker that an image is of no use.
func (t *tenant) dropImage(ctx context.Context, img job.Image, why error) error {
	return t.tell(ctx, wire.Checkpoint{Dropped: img.Digest, Reason: why.Error()})
}
