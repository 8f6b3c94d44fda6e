package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// expireOutputs gives up outputs that nobody has fetched in time: their jobs count against no limit any more, and who
// waits for them learns of it. A matchmaker that has been away looks for the first time after an hour, in which
// couriers that have been waiting for it come first.
func (s *Server) expireOutputs(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			s.expireUndelivered(ctx, now)
		}
	}
}

// undelivered gives the completed jobs of a user that a selection may mean whose outputs have not been fetched, the last first.
func (s *Server) undelivered(user job.UserID, sel wire.Selection) []*job.Job {
	return slices.DeleteFunc(s.history(user, sel), func(j *job.Job) bool { return j.State != job.Completed || j.Delivered })
}

func (s *Server) expireUndelivered(ctx context.Context, now time.Time) {
	var bodies []job.Body
	for _, j := range s.undelivered("", wire.Selection{}) {
		if now.Sub(j.Ended) > keepResults {
			bodies = append(bodies, &job.Delivered{Job: j.ID, Expired: true})
		}
	}
	for some := range slices.Chunk(bodies, maxActed) {
		for i, err := range s.cfg.Queue.CommitEach(ctx, some) {
			id := some[i].Jobs()[0]
			switch {
			case err == nil:
				s.log.Info("outputs have not been fetched in time", diag.KeyJob, id)
			case !errors.Is(err, queue.ErrMisfit) && ctx.Err() == nil:
				s.log.Warn("outputs not given up", diag.KeyJob, id, diag.KeyError, err)
			}
		}
	}
}
