package server

import (
	"fmt"
	"slices"
	"strconv"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// Bounds of a selection.
const (
	maxNamed      = 2000 // jobs and clusters in it
	maxConstraint = 16 << 10
)

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
