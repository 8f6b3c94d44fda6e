package server

import (
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/jobpolicy"
	"skua/matchmaker/negotiate"
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
