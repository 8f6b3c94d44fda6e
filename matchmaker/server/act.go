package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// Bounds of one action or query.
const (
	maxActed      = 2000 // jobs of one action; the user asks again for more
	maxNamed      = 2000 // jobs and clusters in a selection
	maxConstraint = 16 << 10
)

// act does something to jobs of the user.
func (s *Server) act(ctx context.Context, user job.UserID, data []byte) (wire.ActionResult, error) {
	a, err := wire.Decode[wire.Action](data)
	if err != nil {
		return wire.ActionResult{}, &diag.Problem{What: "the action is not understood: " + err.Error(), Err: err}
	}
	verb, ok := actions[a.Do]
	if !ok {
		return wire.ActionResult{}, problem("this matchmaker knows no action %.40q", a.Do)
	}
	pick, err := s.pick(user, a.Select)
	if err != nil {
		return wire.ActionResult{}, err
	}
	result := wire.ActionResult{V: wire.Version, Not: pick.missing}
	reason := shorten(a.Reason)
	if reason == "" {
		reason = fmt.Sprintf("%s asked for it", s.names.of(user))
	}
	var bodies []job.Body
	var acted []*job.Job
	for _, j := range pick.jobs {
		if not := verb.not(j); not != "" {
			if pick.named[j.ID] {
				result.Not[j.ID.String()] = not
			}
			continue
		}
		if verb.done != nil && verb.done(j) {
			if pick.named[j.ID] {
				result.Done = append(result.Done, j.ID)
			}
			continue
		}
		if len(acted) == maxActed {
			result.More = true
			break
		}
		bodies, acted = append(bodies, verb.event(j.ID, reason)), append(acted, j)
	}
	for i, err := range s.cfg.Queue.CommitEach(ctx, bodies) {
		j := acted[i]
		switch {
		case errors.Is(err, queue.ErrMisfit):
			result.Not[j.ID.String()] = "it changed at the same moment"
		case err != nil:
			return wire.ActionResult{}, err
		default:
			result.Done = append(result.Done, j.ID)
			s.entrust(j.ID, func(ctx context.Context, k *keeper) { k.withdraw(ctx) })
		}
	}
	s.log.Info("user acted on jobs", diag.KeyUser, user, "do", a.Do, "jobs", len(result.Done))
	return result, nil
}

// action is one thing that a user can do to a job.
type action struct {
	not   func(*job.Job) string // why it cannot be done; "" when it can
	done  func(*job.Job) bool   // it is so already, and doing it again is no mistake
	event func(id job.ID, reason string) job.Body
}

var actions = map[wire.ActionVerb]action{
	wire.Remove: {
		not:   notEnded,
		event: func(id job.ID, reason string) job.Body { return &job.Withdrawn{Job: id, Reason: reason} },
	},
	wire.HoldJob: {
		not: func(j *job.Job) string {
			if j.State == job.Held {
				return "it is held already"
			}
			return notEnded(j)
		},
		event: func(id job.ID, reason string) job.Body {
			return &job.HeldBack{Job: id, Reason: reason, Code: job.HoldByUser}
		},
	},
	wire.Release: {
		not: func(j *job.Job) string {
			if j.State != job.Held {
				return "it is not held"
			}
			return ""
		},
		event: func(id job.ID, reason string) job.Body { return &job.Released{Job: id, Reason: reason} },
	},
	wire.Deliver: {
		not: func(j *job.Job) string {
			if j.State != job.Completed {
				return "it has not completed"
			}
			return ""
		},
		done:  func(j *job.Job) bool { return j.Delivered },
		event: func(id job.ID, _ string) job.Body { return &job.Delivered{Job: id} },
	},
}

func notEnded(j *job.Job) string {
	switch j.State {
	case job.Completed:
		return "it has completed"
	case job.Removed:
		return "it has been removed"
	}
	return ""
}

// picked are the jobs that a selection means.
type picked struct {
	jobs    []*job.Job
	named   map[job.ID]bool   // by their id
	missing map[string]string // what was named and is not there
}

// pick finds the jobs of a user that a selection means, ended ones included, in the order of ids.
func (s *Server) pick(user job.UserID, sel wire.Selection) (picked, error) {
	p := picked{named: map[job.ID]bool{}, missing: map[string]string{}}
	match, err := selector(sel)
	if err != nil {
		return p, err
	}
	clusters := map[int]bool{}
	for _, j := range slices.Concat(s.cfg.Queue.Jobs(user), s.cfg.Queue.History(user)) {
		clusters[j.ID.Cluster] = true
		if match(j) {
			p.jobs = append(p.jobs, j)
		}
	}
	slices.SortFunc(p.jobs, func(a, b *job.Job) int { return a.ID.Compare(b.ID) })
	for _, c := range sel.Clusters {
		if !clusters[c] {
			p.missing[strconv.Itoa(c)] = "you have no such cluster"
		}
	}
	for _, id := range sel.Jobs {
		p.named[id] = true
		if j, ok := s.cfg.Queue.Job(id); !ok || j.User != user {
			p.missing[id.String()] = "you have no such job"
		}
	}
	return p, nil
}

// selector tells the jobs that a selection means. An empty selection means all.
func selector(sel wire.Selection) (func(*job.Job) bool, error) {
	if len(sel.Clusters)+len(sel.Jobs) > maxNamed || len(sel.Constraint) > maxConstraint {
		return nil, problem("the selection is too long")
	}
	constraint, err := parseConstraint(sel.Constraint)
	if err != nil {
		return nil, err
	}
	clusters, ids := map[int]bool{}, map[job.ID]bool{}
	for _, c := range sel.Clusters {
		clusters[c] = true
	}
	for _, id := range sel.Jobs {
		ids[id] = true
	}
	all := len(clusters)+len(ids) == 0
	return func(j *job.Job) bool {
		if !all && !clusters[j.ID.Cluster] && !ids[j.ID] {
			return false
		}
		return constraint == nil || constraint.Eval(j.CurrentAd(), nil).IsTrue()
	}, nil
}

func parseConstraint(text string) (*classad.Expr, error) {
	if text == "" {
		return nil, nil
	}
	e, err := classad.ParseExpr(text)
	if err != nil {
		return nil, &diag.Problem{
			What: fmt.Sprintf("constraint %.200q: %v", text, err),
			Hint: `write it as a ClassAd expression, such as 'JobStatus == 1 && JobPrio > 0'`,
			Err:  err,
		}
	}
	return e, nil
}
