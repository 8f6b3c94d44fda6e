package server

import (
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/jobpolicy"
	"skua/matchmaker/negotiate"
	"skua/matchmaker/queue"
)

// whyRow explains why the one selected job does not run, by a cycle over the pool as it is now.
func (s *Server) whyRow(p *page, user job.UserID, sel wire.Selection) error {
	j, err := s.one(user, sel)
	if err != nil {
		return err
	}
	snapshot := s.snapshot()
	e := negotiate.Explain(snapshot, j)
	if e.Waiting != nil {
		e.Waiting.StartsOver = s.startsOverAt(j, e.Waiting, snapshot.Now)
	}
	if e.Hold != nil && e.Hold.Code == job.HoldMissedDeferral {
		_, e.Hold.Recurs = jobpolicy.NextRun(j.CurrentAd(), snapshot.Now)
	}
	p.add("", e)
	return nil
}

// needyRow finds the job in the queue that needs an explanation most, see [wire.Needy].
func (s *Server) needyRow(p *page, user job.UserID, sel wire.Selection, match func(*job.Job) bool) {
	var plan *negotiate.Plan
	need := func(j *job.Job) int {
		switch j.State {
		case job.Held:
			return 5
		case job.Idle:
			if plan == nil {
				plan = negotiate.Cycle(s.snapshot())
			}
			if w := plan.Why(j.ID); w != nil && w.Nowhere() {
				return 4
			}
			return 3
		case job.Suspended:
			return 2
		}
		return 1
	}
	var first wire.Needy
	most, still := 0, 0
	filter := queue.Filter{User: user, Live: true, Clusters: sel.Clusters, Jobs: sel.Jobs, Fleeting: true}
	s.cfg.Queue.Walk(filter, func(j *job.Job) bool {
		if !match(j) {
			return true
		}
		n := need(j)
		if n > 1 {
			still++
		}
		if n > most {
			most, first.Job = n, j.ID
		}
		return true
	})
	if most > 0 {
		first.Others = max(0, still-1)
		p.add("", first)
	}
}

// one gives the one job that is selected by its id. Those of others need to be asked for.
func (s *Server) one(user job.UserID, sel wire.Selection) (*job.Job, error) {
	if len(sel.Jobs) != 1 || len(sel.Clusters) > 0 || sel.Constraint != "" {
		return nil, &diag.Problem{What: "this can be asked about one job at a time", Hint: "name it by its id, such as 12.0"}
	}
	j, ok := s.cfg.Queue.Job(sel.Jobs[0])
	if !ok || j.User != user && !sel.AllUsers {
		return nil, &diag.Problem{What: "you have no job " + sel.Jobs[0].String(), Hint: "skua q lists those in the queue, skua history those that ended"}
	}
	return j, nil
}
