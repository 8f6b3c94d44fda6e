package startd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"skua/agent/slot"
	"skua/agent/starter"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// failed ends the work after an error, or after the keeper cut it short.
func (t *tenant) failed(ctx context.Context, in Init, err error) (wire.Done, bool) {
	var killed *killedError
	var held *holdError
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &killed):
		usage := t.end(in)
		return wire.Done{Outcome: wire.Evicted, Reason: killed.why, Usage: usage}, true
	case errors.Is(cause, errDiscarded):
		t.end(in)
		return wire.Done{}, false
	case cause != nil: // the agent stops
		if in != nil {
			in.Close()
		}
		return wire.Done{}, false
	case errors.As(err, &held):
		done := hold(held.code, held.reason)
		done.SubCode = held.subcode
		if held.exit != nil {
			done.Result = &job.Result{ExitCode: held.exit.Code, Signal: held.exit.Signal}
		}
		done.Usage = t.end(in)
		done.Outputs = t.bringStreams(ctx, in)
		done.Usage.Sent = t.traffic().Sent
		return done, true
	default:
		t.log.Warn("the claim fails", diag.KeyError, err)
		usage := t.end(in)
		return wire.Done{Outcome: wire.Evicted, Reason: t.k.d.cfg.Machine + " could not run it: " + err.Error(), Usage: usage}, true
	}
}

// finish ends the work after the job's own end: the outputs are stored, then the result is reported.
func (t *tenant) finish(ctx context.Context, in Init, exit starter.Exit) (wire.Done, bool) {
	if exit.Err != "" {
		return t.failed(ctx, in, errors.New(exit.Err))
	}
	if exit.Strayed {
		return t.failed(ctx, in, t.strayed(ctx))
	}
	if exit.OverMemory {
		t.peak(starter.Reading{Memory: t.limits.Memory}, 0)
		return t.failed(ctx, in, t.overMemory(max(t.limits.Memory, exit.Usage.MaxRSS)))
	}
	if failed := exit.Signal != 0 || exit.Code != 0; failed && !in.LimitsMemory() && t.limits.Memory > 0 && exit.Usage.MaxRSS > t.limits.Memory {
		return t.failed(ctx, in, t.overMemory(exit.Usage.MaxRSS))
	}
	if exit.OverPids {
		return t.failed(ctx, in, t.overProcesses(in.Processes().Peak))
	}
	if t.crashedAtOnce(exit) {
		why := fmt.Errorf("started from the files that it has saved, the job died of signal %d at once", exit.Signal)
		t.log.Warn("job cannot go on from a checkpoint", diag.KeyError, why)
		if err := t.dropImage(ctx, *t.set, why); err != nil {
			return t.failed(ctx, in, err)
		}
		return t.failed(ctx, in, fmt.Errorf("from its checkpoint, which is not used again: %w", why))
	}
	exited := time.Now().UTC().Round(0)
	t.k.post(func(at time.Time, _ job.Instant) slot.Event { return slot.Finished{At: at, Claim: t.offer.Claim} })
	var outputs []job.File
	err := t.insist(ctx, func() (err error) {
		outputs, err = t.stageOut(ctx, in.Scratch(), exit)
		return err
	})
	if err != nil {
		return t.failed(ctx, in, err)
	}
	t.keepHome(in)
	usage := t.sinceStart(exit.Usage)
	t.log.Info("job ends", "exit", exit.Code, "signal", exit.Signal)
	return wire.Done{
		Outcome: wire.Exited, Usage: usage,
		Result: &job.Result{
			ExitCode: exit.Code, Signal: exit.Signal, Usage: usage, Outputs: outputs,
			Executing: t.executing(), Exited: exited,
		},
	}, true
}

// crashedAtOnce reports whether a job that was started from what it has saved itself died as one does that cannot make
// sense of its files. A job that can, and ends as it wants to, says so with an exit code, whichever.
func (t *tenant) crashedAtOnce(exit starter.Exit) bool {
	const atOnce = 10 * time.Second
	if t.set == nil || exit.Usage.Wall > atOnce {
		return false
	}
	switch syscall.Signal(exit.Signal) {
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGABRT, syscall.SIGTRAP:
		return true
	}
	return false
}

// strayed gives up the images that the job was thought to keep to its baseline in, and says why: it goes on from what is
// left, or from the beginning.
func (t *tenant) strayed(ctx context.Context) error {
	why := errors.New("it died of an illegal instruction after it came here from another processor, so its programs do not keep to its cpu_baseline")
	for _, img := range t.offer.Images {
		if img.Kind != job.CRIUImage || img.Fit == nil || img.Fit.Baseline == "" {
			continue
		}
		if err := t.tell(ctx, wire.Checkpoint{Dropped: img.Digest, Reason: why.Error()}); err != nil {
			return err
		}
	}
	return why
}

// end kills whatever of the claim still lives and gives its usage.
func (t *tenant) end(in Init) job.Usage {
	t.gone()
	if in == nil {
		return job.Usage{}
	}
	if err := in.Kill(); err != nil {
		t.log.Warn("kill the job", diag.KeyError, err)
	}
	<-in.Done() // Kill does not return before nothing of the job is left
	in.Close()
	t.measureAtEnd(in)
	return t.sinceStart(in.Exit().Usage)
}

// conclude completes the report and puts it on disk.
func (t *tenant) conclude(done wire.Done) {
	done.V = wire.Version
	done.ClaimRef = wire.ClaimRef{Job: t.offer.Job, Claim: t.offer.Claim, Epoch: t.offer.Epoch}
	if err := writeJSON(t.dir, reportFile, done, false); err != nil { // flushed if it has to wait
		// It is still sent; only a crash before the acknowledgement would lose it, and then the
		// job runs again.
		t.log.Error("write the report", diag.KeyError, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report, t.flushed = done, false
}

func (t *tenant) reported() wire.Done {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.report
}

// holdError says that a person must look at the job before it can run.
type holdError struct {
	code    int
	subcode int
	reason  string
	exit    *starter.Exit // how the job ended by itself before that; nil if it did not
}

func (e *holdError) Error() string { return e.reason }

func hold(code int, reason string) wire.Done {
	return wire.Done{Outcome: wire.Hold, Code: code, Reason: reason}
}
