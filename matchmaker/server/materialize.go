package server

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// materialize lets jobs of clusters with late materialization enter the queue, as soon as their limits have room for
// them.
func (s *Server) materialize(ctx context.Context) error {
	for {
		_, more := s.cfg.Queue.Last() // before the look at what is due: no change is missed
		failed := false
		for _, due := range s.cfg.Queue.Due() {
			err := s.cfg.Queue.Commit(ctx, due)
			switch {
			case err == nil:
				s.log.Debug("jobs enter the queue", "cluster", due.Cluster, "from", due.From, "upto", due.Upto)
			case errors.Is(err, queue.ErrMisfit): // removed at the same moment
			case ctx.Err() == nil:
				s.log.Warn("jobs cannot enter the queue", "cluster", due.Cluster, diag.KeyError, err)
				failed = true
			}
		}
		var again <-chan time.Time
		if failed {
			again = time.After(retry)
			more = nil // which would be another try at once
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		case <-again:
		}
	}
}

// closeClusters sees to it that nothing more comes of the clusters that a user removes as a whole. A constraint is
// about jobs, of which those that have yet to come are none. The error is undone when no cluster has been closed.
func (s *Server) closeClusters(ctx context.Context, user job.UserID, a wire.Action) error {
	if a.Select.Constraint != "" || len(a.Select.Clusters) == 0 && len(a.Select.Jobs) > 0 {
		return nil
	}
	closed := false
	for _, c := range s.cfg.Queue.Coming(user) {
		if len(a.Select.Clusters) > 0 && !slices.Contains(a.Select.Clusters, c.Cluster) {
			continue
		}
		err := s.cfg.Queue.Commit(ctx, &job.Closed{Cluster: c.Cluster, Reason: shorten(a.Reason)})
		switch {
		case err == nil:
			closed = true
		case errors.Is(err, queue.ErrMisfit): // all have come meanwhile
		case errors.Is(err, queue.ErrAway) && !closed:
			return undone{err}
		default:
			return err
		}
	}
	return nil
}

// comingRows lists what has yet to enter the queue of the named clusters, of all if none is named. A cursor is a cluster.
func (s *Server) comingRows(p *page, user job.UserID, clusters []int) {
	after, _ := strconv.Atoi(p.after)
	for _, c := range s.cfg.Queue.Coming(user) {
		if c.Cluster <= after || len(clusters) > 0 && !slices.Contains(clusters, c.Cluster) {
			continue
		}
		if !p.add(strconv.Itoa(c.Cluster), c) {
			return
		}
	}
}
