package startd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
	"skua/internal/wire"
)

// Files brings a job's files and images in and out. Every call checks the content against its digest.
type Files interface {
	// Fetch writes an input below root. [blob.ErrTooLarge] means that it is larger than its size says, for good.
	Fetch(ctx context.Context, capability string, f job.File, root *os.Root) error
	// Store uploads one file.
	Store(ctx context.Context, capability string, f *os.File) (blob.Digest, int64, error)
	// FetchImage unpacks an image into the directories of dir, beside what they hold. [ErrBadImage] means that the image is damaged
	// for good, and a [ScratchError] that its scratch directory has more than most bytes; nothing is unpacked then. That may
	// outlast a capability, so the newest is asked for.
	FetchImage(ctx context.Context, capability func() string, key []byte, d blob.Digest, dir string, most int64) error
	// StoreImage packs the named files and directories of dir and uploads what is new of them, as long as that takes.
	StoreImage(ctx context.Context, capability func() string, key []byte, dir string, names []string) (blob.Digest, int64, error)
}

// ErrBadImage says that an image cannot be used, however often it is fetched.
var ErrBadImage = errors.New("damaged image")

// A ScratchError says that the scratch directory of an image has more bytes than it may have here.
type ScratchError struct{ Bytes int64 }

func (e *ScratchError) Error() string {
	return fmt.Sprintf("the scratch directory of the image has %d bytes, which is too many", e.Bytes)
}

// The two halves of an image, as directories beside each other.
const (
	scratchName = "scratch"
	imageName   = "image"
)

// prepare opens the claim's init and gets the job running: from its newest good image, or from the
// beginning.
func (t *tenant) prepare(ctx context.Context) (Init, error) {
	for _, img := range t.offer.Images {
		begun := time.Now()
		in, fetch, err := t.fromImage(ctx, img)
		if err == nil {
			t.log.Info("job goes on from its checkpoint", "made", img.At, "on", img.Agent, diag.KeyBytes, img.Bytes, "fetch", fetch, diag.KeyTook, time.Since(begun))
			return in, nil
		}
		if in != nil {
			t.end(in)
		}
		if ctx.Err() != nil || !imageAtFault(err) {
			return nil, err // the image is as good as before
		}
		t.log.Warn("job cannot go on from a checkpoint", diag.KeyError, err)
		if err := t.dropImage(ctx, img, err); err != nil {
			return nil, err
		}
	}
	return t.fromBeginning(ctx)
}

// imageAtFault reports whether an error of fromImage may be the image's fault.
func imageAtFault(err error) bool {
	if errors.Is(err, ErrBadImage) || errors.Is(err, errBadSet) {
		return true
	}
	return !errors.Is(err, errStaging) && !errors.Is(err, errUnfit) && !errors.As(err, new(*holdError)) && !oursToMend(err)
}

// errBadSet marks that a job could not be started from the files that it has saved itself.
var errBadSet = errors.New("start from the files that the job has saved")

// errStaging marks what is nobody's fault but the network's or this machine's.
var errStaging = errors.New("bring in files")

func (t *tenant) fromBeginning(ctx context.Context) (Init, error) {
	in, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	t.expect(in)
	t.bring(job.Usage{})
	if err := t.checkDir(); err != nil {
		return in, err
	}
	if err := t.stageIn(ctx, in.Scratch()); err != nil {
		return in, err
	}
	if err := t.writeAds(in.Scratch()); err != nil {
		return in, err
	}
	if err := t.awaitTime(ctx); err != nil {
		return in, err
	}
	err = t.run(ctx, in)
	if errors.Is(err, starter.ErrUsed) {
		t.log.Debug("the job gets a new init", "why", err)
		t.gone()
		t.quit(in)
		return t.fromBeginning(ctx)
	}
	return in, err
}

// run starts the job from its beginning, or from what it has saved itself.
func (t *tenant) run(ctx context.Context, in Init) error {
	spec, lease := t.leasedSpec(in)
	if err := in.Run(ctx, spec); err != nil {
		return startError(ctx, spec.Job, err)
	}
	t.runs(in, lease)
	return nil
}

// fromImage has the job go on from an image, and says how long it took to fetch that.
func (t *tenant) fromImage(ctx context.Context, img job.Image) (in Init, fetch time.Duration, err error) {
	t.leaveHome() // an image brings more with it than a used init takes
	if img.Kind == job.CRIUImage {
		if why := t.k.d.misfit(img.Fit, false); why != "" {
			return nil, 0, unfitError(why)
		}
	}
	if in, err = t.open(ctx); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errStaging, err)
	}
	newest := func() string { read, _ := t.capabilities(); return read }
	begun, moved := time.Now(), t.moving()
	err = t.k.d.cfg.Files.FetchImage(ctx, newest, t.offer.Key, img.Digest, tree(in), t.mostDisk())
	moved()
	fetch = time.Since(begun)
	if err != nil {
		var large *ScratchError
		switch {
		case errors.Is(err, ErrBadImage):
			return in, fetch, err
		case errors.As(err, &large):
			return in, fetch, t.tooLargeForDisk("the job's files in its checkpoint", size(large.Bytes))
		case errors.Is(err, blob.ErrName): // a machine of another system can go on from it
			return in, fetch, fmt.Errorf("%w: %w", errBadSet, err)
		}
		return in, fetch, fmt.Errorf("%w: %w", errStaging, err)
	}
	t.moved(img.Bytes, 0)
	if img.Kind == job.FileImage {
		if err := t.stageInMissing(ctx, in.Scratch()); err != nil {
			return in, fetch, err
		}
		if err := t.writeAds(in.Scratch()); err != nil {
			return in, fetch, err
		}
		t.expect(in)
		t.bring(job.Usage{})
		err := t.run(ctx, in)
		if errors.As(err, new(*holdError)) {
			return in, fetch, fmt.Errorf("%w: %w", errBadSet, err) // its program may be one of those files
		}
		if err == nil {
			t.set = &img
		}
		return in, fetch, err
	}
	if err := t.checkFit(in, img); err != nil {
		return in, fetch, err
	}
	t.expect(in)
	spec, lease := t.leasedSpec(in) // what the init knows of it may have passed while the image came
	restore, cancel := context.WithTimeout(ctx, imageTime(img.Bytes))
	defer cancel()
	if err := in.Resume(restore, spec); err != nil {
		return in, fetch, err
	}
	t.bring(img.Usage)
	t.runs(in, lease)
	if err := clearDir(in.ImageDir()); err != nil { // it takes disk, and memory that others could have
		t.log.Warn("remains of the image that the job goes on from", diag.KeyError, err)
	}
	return in, fetch, nil
}

// leasedSpec describes the job to an init, with what is left of the lease.
func (t *tenant) leasedSpec(in Init) (spec starter.JobSpec, lease job.Instant) {
	spec = t.jobSpec(in.Scratch())
	t.mu.Lock()
	lease = t.lease
	t.mu.Unlock()
	spec.Lease = lease.Sub(t.k.d.cfg.Clock())
	return spec, lease
}

// tree is the directory that holds an init's scratch and image directories; the two are what an image
// is made of.
func tree(in Init) string { return filepath.Dir(in.Scratch()) }

// bring notes what the job had used before it came here.
func (t *tenant) bring(u job.Usage) {
	t.mu.Lock()
	t.brought = u
	t.mu.Unlock()
	if u != (job.Usage{}) {
		t.noteUsage()
	}
}

// open gives the claim's init over an empty scratch directory: that of the job before, if it is one for this
// job and can be made as new, or another.
func (t *tenant) open(ctx context.Context) (Init, error) {
	runtime, err := t.runtime(ctx)
	if err != nil {
		return nil, err
	}
	mounts := t.k.d.mounts()
	if err := t.missesDir(mounts); err != nil {
		t.k.d.checkMounts()
		t.k.d.advertiseNow()
		return nil, err
	}
	spec := starter.ClaimSpec{
		Runtime: runtime,
		Claim:   t.chain, Network: starter.Network(t.k.d.policy().Network), Shared: mounts,
		Limits: starter.Limits{Memory: t.limits.Memory, Pids: t.k.d.cfg.MaxProcesses}, Slot: t.k.num,
	}
	if len(t.k.d.policy().Shared) > 0 {
		// What a job has written to a shared file system must be its own on whichever slot it goes on.
		spec.Slot = 1
	}
	if in, ok := t.moveIn(ctx, spec); ok {
		return in, nil
	}
	if err := t.k.d.cfg.Starter.Remove(t.chain); err != nil { // of an attempt that failed, or the job before
		return nil, fmt.Errorf("start the claim's init: %w", err)
	}
	t.mu.Lock()
	spec.Lease = t.lease.Sub(t.k.d.cfg.Clock())
	t.mu.Unlock()
	in, err := t.k.d.cfg.Starter.Open(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start the claim's init: %w", err)
	}
	spec.Lease = 0
	t.mu.Lock()
	t.spec = spec
	t.mu.Unlock()
	return in, nil
}

// startError tells a job that cannot be started anywhere from one that this machine did not manage to
// start. Its user need not hear again which job it is.
func startError(ctx context.Context, id job.ID, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || oursToMend(err) {
		return err
	}
	return &holdError{code: job.HoldStartFailed, reason: "the job cannot be started: " + strings.TrimPrefix(err.Error(), fmt.Sprintf("run job %v: ", id))}
}

// oursToMend reports whether a job could not be started or restored for a reason that lies in this machine or in the
// claim, and neither in the job nor in its image.
func oursToMend(err error) bool {
	return starter.MachineFault(err) || slices.ContainsFunc([]error{starter.ErrGone, starter.ErrLeaseOver, starter.ErrBusy, starter.ErrUsed}, func(ours error) bool {
		return errors.Is(err, ours)
	})
}

// again starts a job that saved its state and left with the agreed exit code.
func (t *tenant) again(ctx context.Context, in Init) error {
	t.set = nil
	return t.run(ctx, in)
}

func (t *tenant) jobSpec(scratch string) starter.JobSpec {
	env, baseline := t.held(t.environment(scratch))
	return starter.JobSpec{
		Job: t.offer.Job, Argv: t.cmd.Argv, Env: env, Baseline: baseline,
		Dir: t.cmd.Dir, Stdin: t.cmd.Stdin, Stdout: t.cmd.Stdout, Stderr: t.cmd.Stderr,
		Core: t.cmd.Core, Stack: t.cmd.Stack,
	}
}

// stageIn brings in all inputs.
func (t *tenant) stageIn(ctx context.Context, scratch string) error {
	return t.stageInExcept(ctx, scratch, func(*os.Root, string) bool { return false })
}

// stageInMissing brings in the inputs that a job's own checkpoint did not hold.
func (t *tenant) stageInMissing(ctx context.Context, scratch string) error {
	err := t.stageInExcept(ctx, scratch, func(root *os.Root, name string) bool {
		_, err := root.Lstat(name)
		return err == nil
	})
	if err != nil {
		return err
	}
	if err := makeExecutable(scratch, t.offer.Inputs); err != nil {
		return fmt.Errorf("%w: %w", errStaging, err)
	}
	return nil
}

// makeExecutable makes those of the inputs in dir executable that are to be. Windows does not know which are, so a
// checkpoint that was made there does not say it of the programs in it.
func makeExecutable(dir string, inputs []job.File) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range inputs {
		exec := os.FileMode(f.Mode) & 0o111
		fi, err := root.Lstat(f.Name)
		if err != nil || exec == 0 || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 != 0 {
			continue // the job may have removed or replaced it
		}
		if err := root.Chmod(f.Name, fi.Mode().Perm()|exec); err != nil {
			return err
		}
	}
	return nil
}

func (t *tenant) stageInExcept(ctx context.Context, scratch string, have func(*os.Root, string) bool) error {
	defer t.moving()()
	root, err := os.OpenRoot(scratch)
	if err != nil {
		return fmt.Errorf("%w: %w", errStaging, err)
	}
	defer root.Close()
	left, err := t.inputsLeft()
	if err != nil {
		return err
	}
	for _, f := range t.offer.Inputs {
		name, empty := f.Dir()
		if t.isRuntime(f) || have(root, name) {
			continue
		}
		dir := name
		if !empty {
			dir = path.Dir(name)
		}
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("%w: %w", errStaging, err)
		}
		if empty {
			continue
		}
		read, _ := t.capabilities() // the newest: all of them may take longer than one lasts
		switch err := t.k.d.cfg.Files.Fetch(ctx, read, f, root); {
		case errors.Is(err, blob.ErrTooLarge):
			return otherSize("input "+f.Name, f, err)
		case errors.Is(err, blob.ErrNotFound): // nor will another machine find it
			return &holdError{code: job.HoldTransferInput, reason: fmt.Sprintf("the matchmaker does not have the input %s any more; submit the job again", f.Name)}
		case err != nil:
			return fmt.Errorf("%w: input %s: %w", errStaging, f.Name, err)
		}
		t.moved(f.Size, 0)
	}
	for _, u := range t.cmd.Transfers.URLs {
		n, err := t.download(ctx, root, u, left, have)
		if err != nil {
			return err
		}
		left -= n
		t.moved(n, 0)
	}
	return nil
}

// storeTree stores names of the directory dir as an image.
func (t *tenant) storeTree(ctx context.Context, dir string, names []string) (digest blob.Digest, size int64, err error) {
	defer t.moving()()
	err = t.insist(ctx, func() (err error) {
		newest := func() string { _, write := t.capabilities(); return write }
		digest, size, err = t.k.d.cfg.Files.StoreImage(ctx, newest, t.offer.Key, dir, names)
		return err
	})
	if err == nil {
		t.moved(0, size)
	}
	return digest, size, err
}

// errMissing says that parts of an image have been lost before it was reported.
var errMissing = errors.New("parts of the image are not at the matchmaker")

// deposit stores names of the directory dir as an image and reports it, as image describes it. When the matchmaker's
// machine has failed in between, what it has lost is sent again.
func (t *tenant) deposit(ctx context.Context, dir string, names []string, image job.Image) (size int64, err error) {
	const tries = 5
	for try := range tries {
		if try > 0 {
			t.log.Warn("parts of the image are sent again", diag.KeyError, err)
			if pause.For(ctx, t.patience) != nil {
				return 0, ctx.Err()
			}
		}
		if image.Digest, image.Bytes, err = t.storeTree(ctx, dir, names); err != nil {
			return 0, fmt.Errorf("store the image: %w", err)
		}
		if err = t.tell(ctx, wire.Checkpoint{Image: &image}); !errors.Is(err, errMissing) {
			break
		}
	}
	return image.Bytes, err
}

// insist tries to bring out what the job has achieved, again and again as long as the claim stands:
// the file service may be away for as long as the matchmaker may, and that must not cost the job its
// work. Only when the matchmaker does answer, and it still fails for a whole lease, is it given up.
func (t *tenant) insist(ctx context.Context, try func() error) error {
	const most = 30 * time.Second // between two tries
	giveUp := time.Now().Add(terms(t.offer.Terms).Lease)
	for again := time.Second; ; again = min(2*again, most) {
		err := try()
		if err == nil || final(err) || ctx.Err() != nil {
			return err
		}
		if time.Now().After(giveUp) && t.leaseLeft() > 0 {
			return err
		}
		t.log.Info("what the job has done cannot be brought out yet", diag.KeyError, err)
		if pause.For(ctx, again) != nil {
			return err
		}
	}
}

// final reports whether what has been tried fails for a reason that lies in the job and its files, and would fail again.
func final(err error) bool {
	return errors.As(err, new(*holdError)) || errors.As(err, new(*blob.TreeError)) && !starter.MachineFault(err)
}

// leaseLeft is how long the lease still is, as far as is known.
func (t *tenant) leaseLeft() time.Duration {
	now := t.k.d.cfg.Clock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lease.Sub(now)
}

// tell reports a checkpoint.
func (t *tenant) tell(ctx context.Context, message wire.Checkpoint) error {
	_, err := t.ask(ctx, message)
	return err
}

// ask is tell that gives the answer.
func (t *tenant) ask(ctx context.Context, message wire.Checkpoint) (wire.Ack, error) {
	message.V = wire.Version
	message.ClaimRef = wire.ClaimRef{Job: t.offer.Job, Claim: t.offer.Claim, Epoch: t.offer.Epoch}
	for {
		ack, err := request[wire.Ack](ctx, t.k.d, t.patience, wire.VerbCheckpoint, message)
		if err == nil && ack.Missing {
			return ack, fmt.Errorf("%w: %w", errMissing, ack.Fail.Err())
		}
		if err == nil {
			if err = ack.Fail.Err(); err == nil {
				if ack.Stale {
					return ack, errDiscarded
				}
				return ack, nil
			}
		}
		select {
		case <-ctx.Done():
			return ack, fmt.Errorf("the matchmaker did not acknowledge the checkpoint: %w", err)
		case <-time.After(t.patience):
		}
	}
}
