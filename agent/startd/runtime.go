package startd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"skua/agent/runtimes"
	"skua/internal/blob"
	"skua/internal/job"
)

// hasRuntimeRoots says whether jobs can bring runtime roots to machines of this kind.
const hasRuntimeRoots = runtime.GOOS == "linux"

// Runtimes keeps runtime roots. *runtimes.Store does.
type Runtimes interface {
	Get(ctx context.Context, d blob.Digest, size int64, fetch func(dir *os.Root, name string) error) (path string, release func(), err error)
	Hold(d blob.Digest) (release func())
}

// runtimeFile is the archive of the job's runtime root; false if it has none.
func (t *tenant) runtimeFile() (job.File, bool) {
	for _, f := range t.offer.Inputs {
		if t.isRuntime(f) {
			return f, true
		}
	}
	return job.File{}, false
}

// isRuntime tells that archive from the inputs that go into the scratch directory.
func (t *tenant) isRuntime(f job.File) bool { return t.cmd.Runtime != "" && f.Name == job.RuntimeFile }

// runtimeDigest tells the job's runtime root from others.
func runtimeDigest(f job.File) blob.Digest {
	if f.Digest == "" {
		return blob.Sum(f.Inline)
	}
	return f.Digest
}

// runtime gives the directory of the job's runtime root, which stays until the tenant's work is over; "" if it has none.
func (t *tenant) runtime(ctx context.Context) (string, error) {
	f, ok := t.runtimeFile()
	switch {
	case t.cmd.Runtime == "":
		return "", nil
	case !ok:
		return "", &holdError{code: job.HoldTransferInput, reason: fmt.Sprintf("its runtime %s has not been sent with it", t.cmd.Runtime)}
	case t.k.d.cfg.Runtimes == nil:
		return "", fmt.Errorf("%w: no runtime roots are kept here", errStaging)
	}
	path, release, err := t.k.d.cfg.Runtimes.Get(ctx, runtimeDigest(f), f.Size, func(dir *os.Root, name string) error {
		archive := f
		archive.Name, archive.Mode = name, 0o600
		read, _ := t.capabilities() // others may have been waited for
		err := t.k.d.cfg.Files.Fetch(ctx, read, archive, dir)
		if err == nil {
			t.moved(f.Size, 0)
		}
		return err
	})
	switch {
	case errors.Is(err, runtimes.ErrArchive):
		return "", &holdError{code: job.HoldTransferInput, reason: fmt.Sprintf("its runtime %s cannot be unpacked: %v", t.cmd.Runtime, err)}
	case errors.Is(err, blob.ErrTooLarge):
		return "", otherSize("its runtime "+t.cmd.Runtime, f, err)
	case err != nil:
		return "", fmt.Errorf("%w: %w", errStaging, err)
	}
	t.holds(release)
	return path, nil
}

// holdRuntime keeps the runtime root of a job that an earlier agent has started.
func (t *tenant) holdRuntime() {
	if f, ok := t.runtimeFile(); ok && t.k.d.cfg.Runtimes != nil {
		t.holds(t.k.d.cfg.Runtimes.Hold(runtimeDigest(f)))
	}
}

// holds notes what lets go of the job's runtime root, in place of what did so before.
func (t *tenant) holds(release func()) {
	t.mu.Lock()
	before := t.release
	t.release = release
	t.mu.Unlock()
	if before != nil {
		before()
	}
}
