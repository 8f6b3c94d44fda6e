package startd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	"skua/internal/wire"
)

// Files brings a job's files and images in and out. Every call checks the content against its digest.
type Files interface {
	// Fetch writes an input below root.
	Fetch(ctx context.Context, capability string, f job.File, root *os.Root) error
	// Store uploads one file.
	Store(ctx context.Context, capability string, f *os.File) (blob.Digest, int64, error)
	// FetchImage unpacks an image into the directories of dir, beside what they hold. [ErrBadImage] means that the image is damaged for good.
	FetchImage(ctx context.Context, capability string, key []byte, d blob.Digest, dir string) error
	// StoreImage packs the named files and directories of dir and uploads what is new of them.
	StoreImage(ctx context.Context, capability string, key []byte, dir string, names []string) (blob.Digest, int64, error)
}

// ErrBadImage says that an image cannot be used, however often it is fetched.
var ErrBadImage = errors.New("damaged image")

// The two halves of an image, as directories beside each other.
const (
	scratchName = "scratch"
	imageName   = "image"
)

// Bounds of what a job may bring back.
const (
	maxOutputs = 1000
	maxEntries = 10 * maxOutputs // files, directories and what is neither, in directories that it declared
)

// prepare opens the claim's init and gets the job running: from its newest good image, or from the
// beginning.
func (t *tenant) prepare(ctx context.Context) (Init, error) {
	for _, img := range t.offer.Images {
		in, err := t.fromImage(ctx, img)
		if err == nil {
			t.log.Info("job goes on from its checkpoint", "made", img.At, "on", img.Agent)
			return in, nil
		}
		if in != nil {
			t.end(in)
		}
		if ctx.Err() != nil || errors.Is(err, errStaging) {
			return nil, err
		}
		t.log.Warn("job cannot go on from a checkpoint", diag.KeyError, err)
		if err := t.dropImage(ctx, img, err); err != nil {
			return nil, err
		}
	}
	return t.fromBeginning(ctx)
}

// errStaging marks what is nobody's fault but the network's or this machine's.
var errStaging = errors.New("bring in files")

func (t *tenant) fromBeginning(ctx context.Context) (Init, error) {
	in, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
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
	if err := in.Run(ctx, t.jobSpec()); err != nil {
		return in, startError(ctx, err)
	}
	t.runs(in)
	return in, nil
}

func (t *tenant) fromImage(ctx context.Context, img job.Image) (Init, error) {
	in, err := t.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStaging, err)
	}
	read, _ := t.capabilities()
	if err := t.k.d.cfg.Files.FetchImage(ctx, read, t.offer.Key, img.Digest, tree(in)); err != nil {
		if errors.Is(err, ErrBadImage) {
			return in, err
		}
		return in, fmt.Errorf("%w: %w", errStaging, err)
	}
	t.moved(img.Bytes, 0)
	if img.Kind == job.FileImage {
		if err := t.stageInMissing(ctx, in.Scratch()); err != nil {
			return in, err
		}
		if err := t.writeAds(in.Scratch()); err != nil {
			return in, err
		}
		if err := in.Run(ctx, t.jobSpec()); err != nil {
			return in, startError(ctx, err)
		}
		t.bring(job.Usage{})
	} else {
		if err := in.Resume(ctx, t.jobSpec()); err != nil {
			return in, err
		}
		t.bring(img.Usage)
	}
	t.runs(in)
	return in, nil
}

// tree is the directory that holds an init's scratch and image directories; the two are what an image
// is made of.
func tree(in Init) string { return filepath.Dir(in.Scratch()) }

// bring notes what the job had used before it came here.
func (t *tenant) bring(u job.Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.brought = u
}

// open starts the claim's init over an empty scratch directory.
func (t *tenant) open(ctx context.Context) (Init, error) {
	if err := t.k.d.cfg.Starter.Remove(t.offer.Claim); err != nil { // of an attempt that failed
		return nil, fmt.Errorf("start the claim's init: %w", err)
	}
	t.mu.Lock()
	lease := t.lease.Sub(t.k.d.cfg.Clock())
	t.mu.Unlock()
	in, err := t.k.d.cfg.Starter.Open(ctx, starter.ClaimSpec{
		Claim: t.offer.Claim, Lease: lease, Network: starter.Network(t.k.d.cfg.Policy.Network), Shared: t.k.d.mounts(),
		Limits: starter.Limits{Memory: t.limits.Memory},
	})
	if err != nil {
		return nil, fmt.Errorf("start the claim's init: %w", err)
	}
	return in, nil
}

// startError tells a job that cannot be started anywhere from one that this machine did not manage to
// start.
func startError(ctx context.Context, err error) error {
	for _, ours := range []error{starter.ErrGone, starter.ErrLeaseOver, starter.ErrBusy, ctx.Err()} {
		if ours != nil && errors.Is(err, ours) {
			return err
		}
	}
	return &holdError{code: job.HoldStartFailed, reason: "the job cannot be started: " + err.Error()}
}

// again starts a job that saved its state and left with the agreed exit code.
func (t *tenant) again(ctx context.Context, in Init) error {
	if err := in.Run(ctx, t.jobSpec()); err != nil {
		return startError(ctx, err)
	}
	t.runs(in)
	return nil
}

func (t *tenant) jobSpec() starter.JobSpec {
	return starter.JobSpec{
		Job: t.offer.Job, Argv: t.cmd.Argv, Env: t.environment(),
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
	return t.stageInExcept(ctx, scratch, func(root *os.Root, name string) bool {
		_, err := root.Lstat(name)
		return err == nil
	})
}

func (t *tenant) stageInExcept(ctx context.Context, scratch string, have func(*os.Root, string) bool) error {
	root, err := os.OpenRoot(scratch)
	if err != nil {
		return fmt.Errorf("%w: %w", errStaging, err)
	}
	defer root.Close()
	left, err := t.inputsLeft()
	if err != nil {
		return err
	}
	read, _ := t.capabilities()
	for _, f := range t.offer.Inputs {
		if have(root, f.Name) {
			continue
		}
		if dir := path.Dir(f.Name); dir != "." {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("%w: %w", errStaging, err)
			}
		}
		if err := t.k.d.cfg.Files.Fetch(ctx, read, f, root); err != nil {
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

// stageOut stores what the job leaves: its standard streams, and the files that it declared or, if it
// declared none, every file that is new or changed in the top of its scratch directory.
func (t *tenant) stageOut(ctx context.Context, scratch string, exit starter.Exit) ([]job.File, error) {
	root, err := os.OpenRoot(scratch)
	if err != nil {
		return nil, fmt.Errorf("bring out files: %w", err)
	}
	defer root.Close()
	names := t.streams(root)
	// A job that works in a shared file system has its files there.
	tr := t.cmd.Transfers
	if t.cmd.Dir == "" && (!tr.OnSuccess || exit.Signal == 0 && exit.Code == tr.SuccessExit) {
		if names, err = t.outputs(root, names); err != nil {
			return nil, err
		}
	}
	return t.storeOutputs(ctx, root, names)
}

// bringStreams stores the standard streams of a job that is held, as far as there are any: what its user
// will want to see first.
func (t *tenant) bringStreams(ctx context.Context, in Init) []job.File {
	if in == nil {
		return nil
	}
	root, err := os.OpenRoot(in.Scratch())
	if err != nil {
		t.log.Warn("bring out the standard streams", diag.KeyError, err)
		return nil
	}
	defer root.Close()
	var files []job.File
	err = t.insist(ctx, func() (err error) {
		files, err = t.storeOutputs(ctx, root, t.streams(root))
		return err
	})
	if err != nil {
		t.log.Warn("bring out the standard streams", diag.KeyError, err)
		return nil
	}
	return files
}

// streams names the standard streams that there are and that are to come back.
func (t *tenant) streams(root *os.Root) []string {
	var names []string
	for _, s := range []struct {
		name string
		back bool
	}{{job.StdoutFile, t.cmd.Transfers.Out}, {job.StderrFile, t.cmd.Transfers.Err && t.cmd.Stderr != job.StdoutFile}} {
		if fi, err := root.Lstat(s.name); s.back && err == nil && fi.Mode().IsRegular() {
			names = append(names, s.name)
		}
	}
	return names
}

func (t *tenant) storeOutputs(ctx context.Context, root *os.Root, names []string) ([]job.File, error) {
	var files []job.File
	for _, name := range names {
		f, err := t.storeOutput(ctx, root, name)
		if err != nil {
			return nil, fmt.Errorf("bring out file %s: %w", name, err)
		}
		files = append(files, f)
	}
	for _, f := range files {
		t.moved(0, f.Size)
	}
	return files, nil
}

// outputs adds the job's outputs to the names of its standard streams.
func (t *tenant) outputs(root *os.Root, names []string) ([]string, error) {
	streams := len(names)
	var err error
	if list, ok := t.offer.Ad.Str("TransferOutput"); ok {
		names, err = declaredOutputs(root, names, strings.Split(list, ","))
	} else {
		names, err = t.newFiles(root, names)
	}
	if err != nil {
		return nil, err
	}
	return names, t.checkOutputSize(root, names[streams:])
}

// checkOutputSize holds a job that makes more than it says it does at most.
func (t *tenant) checkOutputSize(root *os.Root, names []string) error {
	if t.cmd.Transfers.MaxOut < 0 {
		return nil
	}
	var sum int64
	for _, name := range names {
		fi, err := root.Stat(name)
		if err != nil {
			return fmt.Errorf("bring out file %s: %w", name, err)
		}
		sum += fi.Size()
	}
	if sum > t.cmd.Transfers.MaxOut {
		return &holdError{code: job.HoldOutputTooLarge, reason: fmt.Sprintf(
			"the job's outputs are %s, and its max_transfer_output_mb allows %s", size(sum), size(t.cmd.Transfers.MaxOut))}
	}
	return nil
}

// newFiles adds the files that are new or changed.
func (t *tenant) newFiles(root *os.Root, names []string) ([]string, error) {
	streams := []string{job.StdoutFile, job.StderrFile}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("bring out files: %w", err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !e.Type().IsRegular() || slices.Contains(streams, e.Name()) || strings.HasPrefix(e.Name(), "_condor_") || isAdFile(e.Name()) {
			continue
		}
		if t.unchangedInput(e.Name(), fi) {
			continue
		}
		names = append(names, e.Name())
	}
	if len(names) > maxOutputs {
		return nil, &holdError{code: job.HoldTransferOutput, reason: fmt.Sprintf(
			"the job made %d files; at most %d come back: name those you want in transfer_output_files", len(names), maxOutputs)}
	}
	return names, nil
}

// declaredOutputs adds the files that the job declared to names. Of a directory these are the plain
// files in it, at any depth; links in it are not followed.
func declaredOutputs(root *os.Root, names, declared []string) ([]string, error) {
	have := map[string]bool{}
	for _, name := range names {
		have[name] = true
	}
	seen := 0
	for _, top := range declared {
		top = path.Clean(strings.TrimSpace(top))
		if top == "." {
			continue
		}
		add := func(name string) error {
			if !have[name] {
				have[name] = true
				names = append(names, name)
			}
			if len(names) > maxOutputs {
				return tooManyDeclared(top)
			}
			return nil
		}
		fi, err := root.Stat(top)
		switch {
		case err == nil && fi.Mode().IsRegular():
			err = add(top)
		case err == nil && fi.IsDir():
			err = fs.WalkDir(root.FS(), top, func(name string, e fs.DirEntry, err error) error {
				if seen++; seen > maxEntries {
					return tooManyDeclared(top)
				}
				if err != nil {
					return &holdError{code: job.HoldTransferOutput, reason: fmt.Sprintf("the output directory %s cannot be read: %v", name, err)}
				}
				if !e.Type().IsRegular() {
					return nil
				}
				return add(name)
			})
		default:
			err = &holdError{code: job.HoldTransferOutput, subcode: errnoNoEntry, reason: fmt.Sprintf(
				"the job declared the output %s and did not make it; it left %s", top, whatIsThere(root))}
		}
		if err != nil {
			return nil, fmt.Errorf("bring out %s: %w", top, err)
		}
	}
	return names, nil
}

// errnoNoEntry is ENOENT, which HTCondor gives as the subcode of a missing output.
const errnoNoEntry = 2

func tooManyDeclared(top string) error {
	return &holdError{code: job.HoldTransferOutput, reason: fmt.Sprintf(
		"with what is in %s the job's outputs are more than %d files: have the job pack them into an archive", top, maxOutputs)}
}

// whatIsThere lists some of the files in the top of the scratch directory.
func whatIsThere(root *os.Root) string {
	const most = 10
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return "a directory that cannot be read: " + err.Error()
	}
	var names []string
	more := 0
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, "_condor_") || strings.HasPrefix(name, ".skua-") || isAdFile(name):
		case len(names) == most:
			more++
		case e.IsDir():
			names = append(names, name+"/")
		default:
			names = append(names, name)
		}
	}
	switch {
	case len(names) == 0:
		return "no files"
	case more > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	}
	return strings.Join(names, ", ")
}

// unchangedInput reports whether a file is an input that the job left as it was. Inputs are written
// with a modification time long past, so that a touch shows.
func (t *tenant) unchangedInput(name string, fi fs.FileInfo) bool {
	for _, in := range t.offer.Inputs {
		if in.Name == name {
			return fi.Size() == in.Size && !fi.ModTime().After(inputTime)
		}
	}
	return false
}

// inputTime is the modification time of staged inputs.
var inputTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (t *tenant) storeOutput(ctx context.Context, root *os.Root, name string) (job.File, error) {
	f, err := root.Open(name)
	if err != nil {
		return job.File{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return job.File{}, err
	}
	_, write := t.capabilities()
	digest, size, err := t.k.d.cfg.Files.Store(ctx, write, f)
	if err != nil {
		return job.File{}, err
	}
	return job.File{Name: name, Digest: digest, Size: size, Mode: uint32(fi.Mode().Perm())}, nil
}

// storeImage stores the named parts of the claim's directories as an image.
func (t *tenant) storeImage(ctx context.Context, in Init, names []string) (digest blob.Digest, size int64, err error) {
	err = t.insist(ctx, func() (err error) {
		_, write := t.capabilities()
		digest, size, err = t.k.d.cfg.Files.StoreImage(ctx, write, t.offer.Key, tree(in), names)
		return err
	})
	if err == nil {
		t.moved(0, size)
	}
	return digest, size, err
}

// insist tries to bring out what the job has achieved, again and again as long as the claim stands:
// the file service may be away for as long as the matchmaker may, and that must not cost the job its
// work. Only when the matchmaker does answer, and it still fails for a whole lease, is it given up.
func (t *tenant) insist(ctx context.Context, try func() error) error {
	const most = 30 * time.Second // between two tries
	giveUp := time.Now().Add(terms(t.offer.Terms).Lease)
	for pause := time.Second; ; pause = min(2*pause, most) {
		err := try()
		if err == nil || errors.As(err, new(*holdError)) || ctx.Err() != nil {
			return err
		}
		if time.Now().After(giveUp) && t.leaseLeft() > 0 {
			return err
		}
		t.log.Info("what the job has done cannot be brought out yet", diag.KeyError, err)
		if !wait(ctx, pause) {
			return err
		}
	}
}

// leaseLeft is how long the lease still is, as far as is known.
func (t *tenant) leaseLeft() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lease.Sub(t.k.d.cfg.Clock())
}

// tell sends a message about a checkpoint until it is acknowledged.
func (t *tenant) tell(ctx context.Context, message wire.Checkpoint) error {
	message.V = wire.Version
	message.ClaimRef = wire.ClaimRef{Job: t.offer.Job, Claim: t.offer.Claim, Epoch: t.offer.Epoch}
	for {
		ack, err := request[wire.Ack](ctx, t.k.d, t.patience, wire.VerbCheckpoint, message)
		if err == nil {
			if err = ack.Fail.Err(); err == nil {
				if ack.Stale {
					return errDiscarded
				}
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the matchmaker did not acknowledge the checkpoint: %w", err)
		case <-time.After(t.patience):
		}
	}
}
