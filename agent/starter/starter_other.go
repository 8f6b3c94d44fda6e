//go:build !linux && !windows

package starter

import (
	"context"
	"errors"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/job"
)

// MaybeInit does nothing on systems where claims have no init.
func MaybeInit() {}

// A Starter cannot start anything on this system yet.
type Starter struct{}

// An Init does not exist on this system.
type Init struct{}

// New reports errors.ErrUnsupported.
func New(Config) (*Starter, error) { return nil, errors.ErrUnsupported }

func (*Starter) Capabilities(context.Context) Capabilities {
	const why = "this system has no sandbox for jobs yet"
	return Capabilities{SandboxWhy: why, CheckpointWhy: why}
}

func (*Starter) Open(context.Context, ClaimSpec) (*Init, error) { return nil, errors.ErrUnsupported }

func (*Starter) Adopt(context.Context, job.ClaimID) (*Init, error) {
	return nil, errors.ErrUnsupported
}

func (*Starter) Leftover(job.ClaimID) (*Init, error) { return nil, errors.ErrUnsupported }

func (*Starter) Claims() ([]job.ClaimID, error) { return nil, errors.ErrUnsupported }

func (*Starter) Remove(job.ClaimID) error { return errors.ErrUnsupported }

func (*Init) Claim() job.ClaimID { return "" }

func (*Init) Scratch() string { return "" }

func (*Init) ImageDir() string { return "" }

func (*Init) Job() (id job.ID, running bool) { return job.ID{}, false }

func (*Init) Frozen() bool { return false }

func (*Init) Settle(context.Context) error { return errors.ErrUnsupported }

func (*Init) Refresh(context.Context) error { return errors.ErrUnsupported }

func (*Init) Run(context.Context, JobSpec) error { return errors.ErrUnsupported }

func (*Init) Resume(context.Context, JobSpec) error { return errors.ErrUnsupported }

func (*Init) Freeze() error { return errors.ErrUnsupported }

func (*Init) Thaw() error { return errors.ErrUnsupported }

func (*Init) Checkpoint(context.Context, bool) (checkpoint.Stats, error) {
	return checkpoint.Stats{}, errors.ErrUnsupported
}

func (*Init) Cool(context.Context) error { return errors.ErrUnsupported }

func (*Init) Look(context.Context, int64) (Reading, error) { return Reading{}, errors.ErrUnsupported }

func (*Init) LimitsMemory() bool { return false }

func (*Init) Processes() Processes { return Processes{} }

func (*Init) Throttle(context.Context, float64) error { return errors.ErrUnsupported }

// ProcessorTime fails.
func (*Init) ProcessorTime() (time.Duration, error) { return 0, errors.ErrUnsupported }

func (*Init) Signal(int) error { return errors.ErrUnsupported }

func (*Init) Kill() error { return errors.ErrUnsupported }

func (*Init) Grant(time.Duration) error { return errors.ErrUnsupported }

func (*Init) Done() <-chan struct{} { return nil }

func (*Init) Exit() Exit { return Exit{} }

func (*Init) Close() {}
