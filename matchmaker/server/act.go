package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// maxActed is how many jobs one answer acts on; the user asks again for more.
const maxActed = 2000

// act does something to jobs of the user. An answer with More says where the next request goes on.
func (s *Server) act(ctx context.Context, user job.UserID, data []byte) (wire.ActionResult, error) {
	a, err := wire.Decode[wire.Action](data)
	if err != nil {
		return wire.ActionResult{}, &diag.Problem{What: "the action is not understood: " + err.Error(), Err: err}
	}
	if a.Request == "" {
		return s.carryOut(ctx, user, a)
	}
	return s.acted.once(ctx, string(user)+" "+a.Request, func() (wire.ActionResult, error) { return s.carryOut(ctx, user, a) })
}

// carryOut does what an action says.
func (s *Server) carryOut(ctx context.Context, user job.UserID, a wire.Action) (wire.ActionResult, error) {
	verb, err := s.actionOf(user, a)
	if err != nil {
		return wire.ActionResult{}, err
	}
	pick, err := s.pick(user, a.Select, a.After)
	if err != nil {
		return wire.ActionResult{}, err
	}
	if a.Do == wire.Remove {
		if err := s.closeClusters(ctx, user, a); err != nil {
			return wire.ActionResult{}, err
		}
	}
	result := wire.ActionResult{V: wire.Version, Not: pick.missing}
	var bodies []job.Body
	var acted []*job.Job // those that bodies are about
	var done []*job.Job  // as they were
	looked := 0
	for j := range pick.jobs {
		if looked == maxActed {
			result.More = true
			break
		}
		body, not := verb.do(j)
		switch {
		case not != "" && pick.named[j.ID]:
			result.Not[j.ID.String()] = not
		case not != "":
			continue // one of many that it is not meant for
		case body != nil:
			bodies, acted = append(bodies, body), append(acted, j)
		default:
			result.Done = append(result.Done, j.ID)
		}
		looked++
		result.Next = j.ID
	}
	if !result.More {
		result.Next = job.ID{}
	}
	var failed error
	allAway := true
	for i, err := range s.cfg.Queue.CommitEach(ctx, bodies) {
		j := acted[i]
		switch {
		case errors.Is(err, queue.ErrMisfit):
			result.Not[j.ID.String()] = "it changed at the same moment"
		case err != nil:
			failed, allAway = cmp.Or(failed, err), allAway && errors.Is(err, queue.ErrAway)
		default:
			result.Done, done = append(result.Done, j.ID), append(done, j)
			s.entrust(j.ID, func(ctx context.Context, k *keeper) { k.withdraw(ctx) })
		}
	}
	switch {
	case failed != nil && allAway && len(done) == 0:
		return wire.ActionResult{}, undone{failed}
	case failed != nil:
		return wire.ActionResult{}, failed
	}
	if verb.note != nil {
		result.Note = verb.note(done)
	}
	if a.Do == wire.Prio || a.Do == wire.Edit && !onlyLate(a.Set) {
		result.Note = join(result.Note, s.notYet(user, a.Select))
	}
	s.log.Info("user acted on jobs", diag.KeyUser, user, "do", a.Do, "jobs", len(result.Done))
	return result, nil
}

// action is one thing that a user does to jobs.
type action struct {
	// do says what is to be logged of a job; nil if nothing needs to be. not is why it cannot be done.
	do   func(*job.Job) (body job.Body, not string)
	note func(done []*job.Job) string // for [wire.ActionResult], of the jobs as they were before it was done; nil for none
}

// actionOf checks what is asked for.
func (s *Server) actionOf(user job.UserID, a wire.Action) (action, error) {
	reason := shorten(a.Reason)
	if reason == "" {
		reason = fmt.Sprintf("%s asked for it", s.names.of(user))
	}
	switch a.Do {
	case wire.Remove:
		return action{do: func(j *job.Job) (job.Body, string) {
			return &job.Withdrawn{Job: j.ID, Reason: reason, Usage: s.runOf(j)}, ended(j)
		}}, nil
	case wire.HoldJob:
		return action{do: func(j *job.Job) (job.Body, string) {
			if j.State == job.Held {
				return nil, "it is held already"
			}
			return &job.HeldBack{Job: j.ID, Reason: reason, Code: job.HoldByUser, Usage: s.runOf(j)}, ended(j)
		}}, nil
	case wire.Release:
		return action{do: func(j *job.Job) (job.Body, string) {
			if j.State != job.Held {
				return nil, "it is not held"
			}
			return &job.Released{Job: j.ID, Reason: reason}, ""
		}}, nil
	case wire.Deliver:
		return action{do: func(j *job.Job) (job.Body, string) {
			switch {
			case j.State != job.Completed:
				return nil, "it has not completed"
			case j.Delivered:
				return nil, ""
			}
			return &job.Delivered{Job: j.ID}, ""
		}}, nil
	case wire.Suspend, wire.Continue, wire.Vacate, wire.Evict:
		return action{do: func(j *job.Job) (job.Body, string) { return nil, s.command(j, a.Do, reason) }}, nil
	case wire.Edit:
		if err := s.checkLate(user, a); err != nil {
			return action{}, err
		}
		return editing(a.Set)
	case wire.Prio:
		return prioritising(a.Set)
	}
	return action{}, problem("this matchmaker knows no action %.40q", a.Do)
}

// ended says how a job has ended, "" if it has not.
func ended(j *job.Job) string {
	switch j.State {
	case job.Completed:
		return "it has completed"
	case job.Removed:
		return "it has been removed"
	}
	return ""
}
