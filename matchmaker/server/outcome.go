package server

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/jobpolicy"
	"skua/policy/classad"
)

// outcome turns an agent's report of how a claim ended into the events that it means. Of a run that
// ended by itself, and of one that had too little memory, the job's policy has the last word. The error is errUnknown
// while it cannot be told whether the pool has the files that are reported.
func (s *Server) outcome(j *job.Job, done wire.Done, now time.Time) ([]job.Body, error) {
	switch {
	case done.Outcome == wire.Exited && done.Result != nil:
		return s.exit(j, *done.Result, now)
	case done.Outcome == wire.Hold:
		return s.holdBack(j, done, now)
	case done.Outcome == wire.Evicted:
		return evicted(j, shorten(done.Reason), done.Usage), nil
	}
	reason := fmt.Sprintf("the machine reported an outcome that this matchmaker does not know (%.20q)", done.Outcome)
	return evicted(j, reason, done.Usage), nil
}

func evicted(j *job.Job, reason string, used job.Usage) []job.Body {
	return []job.Body{&job.Evicted{Job: j.ID, Epoch: j.Epoch, Reason: reason, Usage: used}}
}

// withEdit is an event and the assignments that go with it, if there are any.
func withEdit(b job.Body, id job.ID, set []job.Assigned) []job.Body {
	if len(set) == 0 {
		return []job.Body{b}
	}
	return []job.Body{b, &job.Edited{Job: id, Set: set}}
}

// exit is what becomes of a job of which a run has ended by itself.
func (s *Server) exit(j *job.Job, r job.Result, now time.Time) ([]job.Body, error) {
	if err := s.checkOutputs(j.User, r.Outputs); errors.Is(err, errUnknown) {
		return nil, err
	} else if err != nil {
		return []job.Body{&job.HeldBack{
			Job: j.ID, Epoch: j.Epoch, Code: job.HoldTransferOutput, Usage: r.Usage,
			Reason: "the outputs cannot be taken: " + err.Error(),
		}}, nil
	}
	ended := &job.Ended{Job: j.ID, Epoch: j.Epoch, Result: r}
	if !jobpolicy.HasExit(j.Ad) {
		return []job.Body{ended}, nil
	}
	ad := after(j, ended, now)
	if ad == nil {
		return []job.Body{ended}, nil // which does not fit, and is refused
	}
	ad.SetInt("JobStatus", int64(j.State)) // it is not over before its policy says so
	switch v := jobpolicy.Exit(ad); v.Action {
	case jobpolicy.Hold:
		outputs := streams(r.Outputs)
		r.Outputs = nil // the others are not kept
		return withEdit(&job.HeldBack{
			Job: j.ID, Epoch: j.Epoch, Reason: v.Reason, Code: v.Code, SubCode: v.SubCode, Usage: r.Usage, Outputs: outputs, Result: &r,
		}, j.ID, runsNext(ad, now)), nil
	case jobpolicy.Requeue:
		return withEdit(&job.Requeued{Job: j.ID, Epoch: j.Epoch, Result: r, Reason: v.Reason}, j.ID, runsNext(ad, now)), nil
	}
	return []job.Body{ended}, nil
}

// holdBack is what becomes of a job that its machine wants held. One that may ask for more memory is
// tried again with more.
func (s *Server) holdBack(j *job.Job, done wire.Done, now time.Time) ([]job.Body, error) {
	held := &job.HeldBack{
		Job: j.ID, Epoch: j.Epoch, Reason: shorten(done.Reason), Code: done.Code, SubCode: done.SubCode, Usage: done.Usage, Outputs: done.Outputs,
	}
	if r := done.Result; r != nil {
		held.Exit = &job.Result{ExitCode: r.ExitCode, Signal: r.Signal}
	}
	if err := s.checkOutputs(j.User, held.Outputs); errors.Is(err, errUnknown) {
		return nil, err
	} else if err != nil {
		held.Outputs = nil
		held.Reason = shorten(held.Reason + "; its output cannot be taken: " + err.Error())
	}
	ad := after(j, held, now)
	if ad == nil {
		return []job.Body{held}, nil
	}
	if mb, ok := jobpolicy.MemoryRetry(ad); ok {
		reason := fmt.Sprintf("%s; it asks for %d MB from now on", held.Reason, mb)
		set := []job.Assigned{{Name: "RequestMemory", Expr: fmt.Sprint(mb)}}
		return withEdit(&job.Evicted{Job: j.ID, Epoch: j.Epoch, Usage: done.Usage, Reason: reason}, j.ID, set), nil
	}
	return []job.Body{held}, nil
}

// after is the job's ad as an event would make it; nil for an event that does not fit.
func after(j *job.Job, b job.Body, now time.Time) *classad.Ad {
	next, err := j.Apply(job.Event{At: now, Body: b})
	if err != nil {
		return nil
	}
	return next.CurrentAd()
}

// streams are the standard streams among a run's outputs.
func streams(outputs []job.File) []job.File {
	return slices.DeleteFunc(slices.Clone(outputs), func(f job.File) bool {
		return f.Name != job.StdoutFile && f.Name != job.StderrFile
	})
}
