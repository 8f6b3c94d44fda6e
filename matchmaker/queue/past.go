package queue

import (
	"fmt"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/matchmaker/history"
)

// doneJob is a job that an event was the last one for.
type doneJob struct {
	seq uint64
	job *job.Job
}

// recordDone adds the jobs that are done with to the history. Those that it cannot take now wait for the next time.
func (q *Queue) recordDone() {
	if err := q.record(false); err != nil {
		q.log.Warn("history cannot be written", diag.KeyError, err)
	}
}

// recordAll is recordDone, and puts them on disk: once there is a snapshot, nothing else tells of them.
func (q *Queue) recordAll() error {
	if q.cfg.History == nil {
		return nil
	}
	if err := q.record(true); err != nil {
		return err
	}
	return q.cfg.History.Sync()
}

func (q *Queue) record(now bool) error {
	if q.cfg.History == nil {
		return nil
	}
	q.recording.Lock()
	defer q.recording.Unlock()
	if !now && time.Since(q.recordFailed) < archiveAgain {
		return nil
	}
	q.mu.Lock()
	done := q.state.done
	q.state.done = nil
	q.mu.Unlock()
	last := q.cfg.History.Last()
	for i, d := range done {
		if d.seq <= last {
			continue // it was there before the restart
		}
		if err := q.cfg.History.Add(history.NewEntry(d.seq, d.job)); err != nil {
			q.mu.Lock()
			q.state.done = append(done[i:], q.state.done...)
			q.mu.Unlock()
			q.recordFailed = time.Now()
			return fmt.Errorf("job %v: %w", d.job.ID, err)
		}
	}
	return nil
}

// Forgot says whether some jobs of a cluster, which the queue has had, are not in memory any more.
func (q *Queue) Forgot(cluster int) bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	c := q.state.clusters[cluster]
	if c == nil {
		return cluster <= q.state.cluster
	}
	return c.nfresh+len(c.jobs) < c.opened
}
