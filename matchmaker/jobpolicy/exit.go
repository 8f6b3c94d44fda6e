package jobpolicy

import (
	"fmt"
	"math"

	"skua/internal/job"
	"skua/policy/classad"
)

const (
	attrOnExitHold   = "OnExitHold"
	attrOnExitRemove = "OnExitRemove"
)

// HasExit reports whether a job says what becomes of it when a run has ended, so that [Exit] needs to look at it.
func HasExit(ad *classad.Ad) bool {
	for _, attr := range []string{attrOnExitHold, attrOnExitRemove} {
		if _, ok := ad.Lookup(attr); ok {
			return true
		}
	}
	return false
}

// Exit says what becomes of a job of which a run has ended by itself. The ad has the run's ExitBySignal,
// ExitCode or ExitSignal, and NumJobCompletions counts it.
//
// OnExitHold comes first, then OnExitRemove, of which a clear no runs the job again; submit makes it from
// max_retries, retry_until and success_exit_code. (HTCondor asks the periodic expressions once more at
// this moment. Here, a run that has ended is not held or removed for how it ran.)
func Exit(ad *classad.Ad) Verdict {
	if v, ok := fires(ad, attrOnExitHold, Hold); ok {
		return v
	}
	if e, ok := ad.Lookup(attrOnExitRemove); ok {
		if again, ok := e.Eval(ad, nil).Bool(); ok && !again {
			return Verdict{Action: Requeue, Reason: requeued(ad, e)}
		}
	}
	return Verdict{Action: Complete}
}

// requeued says why a job is run again.
func requeued(ad *classad.Ad, e *classad.Expr) string {
	how := "it ended"
	if signalled, _ := ad.Bool("ExitBySignal"); signalled {
		if n, ok := ad.Int("ExitSignal"); ok {
			how = fmt.Sprintf("signal %d ended it", n)
		}
	} else if n, ok := ad.Int("ExitCode"); ok {
		how = fmt.Sprintf("it exited with code %d", n)
	}
	retries, ok := ad.Int("JobMaxRetries")
	runs, ok2 := ad.Int("NumJobCompletions")
	if ok && ok2 {
		return fmt.Sprintf("%s: retry %d of %d", how, runs, retries)
	}
	return fmt.Sprintf("%s, and its on_exit_remove is false: %s", how, shorten(e.OldString()))
}

// MemoryRetry gives the RequestMemory, in MiB, with which a job is to be tried again that was held because it
// used more memory than it had asked for. It is false for a job that was not, or that has been tried
// with all that its retry_request_memory... commands allow.
func MemoryRetry(ad *classad.Ad) (mb int64, ok bool) {
	if code, _ := ad.Int("HoldReasonCode"); code != job.HoldOutOfResources {
		return 0, false
	}
	if sub, _ := ad.Int("HoldReasonSubCode"); sub == job.HoldOutOfDisk {
		return 0, false
	}
	now, ok := ad.Int("RequestMemory")
	if !ok {
		return 0, false
	}
	next := int64(math.MaxInt64)
	// The sequence of sizes to try, or the one.
	values := ad.Eval("RetryRequestMemory", nil)
	steps, isList := values.List()
	if !isList {
		steps = []classad.Value{values}
	}
	for _, v := range steps {
		if n, ok := whole(v); ok && n > now {
			next = min(next, n)
		}
	}
	if next == math.MaxInt64 {
		if next, ok = increased(ad, now); !ok {
			return 0, false
		}
	}
	if most, ok := whole(ad.Eval("RetryRequestMemoryMax", nil)); ok {
		next = min(next, most)
	}
	return next, next > now
}

// increased is what RetryRequestMemoryIncrease makes of the present request: a number is added to it,
// and another expression gives the new one.
func increased(ad *classad.Ad, now int64) (int64, bool) {
	e, ok := ad.Lookup("RetryRequestMemoryIncrease")
	if !ok {
		return 0, false
	}
	n, ok := whole(e.Eval(ad, nil))
	if _, literal := e.Literal(); literal {
		n += now
	}
	return n, ok
}

// whole is a number of MiB, rounded up.
func whole(v classad.Value) (int64, bool) {
	const most = 1 << 40 // an exbibyte
	f, ok := v.Real()
	if !ok || v.Kind() == classad.Boolean || !(f > 0 && f < most) {
		return 0, false
	}
	return int64(math.Ceil(f)), true
}
