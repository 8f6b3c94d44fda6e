package server

import (
	"fmt"
	"strconv"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// Bounds of a selection.
const (
	maxNamed      = 2000 // jobs and clusters in it
	maxConstraint = 16 << 10
)

// picked are the jobs that a selection means.
type picked struct {
	jobs    func(f func(*job.Job) bool) // calls f with one after another in the order of ids, until it is false
	named   map[job.ID]bool             // by their id
	missing map[string]string           // what was named and is not there
}

// pick finds the jobs of a user that a selection means, ended ones included, after the given one.
func (s *Server) pick(user job.UserID, sel wire.Selection, after job.ID) (picked, error) {
	p := picked{named: map[job.ID]bool{}, missing: map[string]string{}}
	match, err := s.selector(sel)
	if err != nil {
		return p, err
	}
	filter := queue.Filter{User: user, Live: true, Ended: true, Clusters: sel.Clusters, Jobs: sel.Jobs, After: after}
	p.jobs = func(f func(*job.Job) bool) {
		s.cfg.Queue.Walk(filter, func(j *job.Job) bool { return !match(j) || f(j) })
	}
	for _, c := range sel.Clusters {
		if !s.cfg.Queue.Owns(user, c) {
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

// selector tells the jobs that a selection means. An empty selection means all. What it gives belongs to one
// goroutine.
func (s *Server) selector(sel wire.Selection) (func(*job.Job) bool, error) {
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
	var view job.View
	return func(j *job.Job) bool {
		if !all && !clusters[j.ID.Cluster] && !ids[j.ID] {
			return false
		}
		return constraint == nil || constraint.Eval(view.Of(s.measured(j)), nil).IsTrue()
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
