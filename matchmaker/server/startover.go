package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/quantity"
	"skua/internal/why"
	"skua/matchmaker/negotiate"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// A job that has a checkpoint is offered only to machines on which it can go on from there. When none of those
// that it could run on is of that kind, it waits for one to come: machines are switched off at night. After a
// while its newest checkpoint is given up. The job then goes on from an older one that fits, or starts over.

// DefaultRestartAfter is how long a job waits for a machine that its checkpoint fits.
const DefaultRestartAfter = 24 * time.Hour

const (
	minRestartAfter = time.Minute
	stuckEvery      = time.Minute // how often jobs with checkpoints are looked at
)

const attrRestartAfter = "RestartAfter"

// stuck remembers since when jobs wait for a machine that their checkpoint fits. It is not kept: a matchmaker
// that has just started does not know which machines have been there, and begins to count anew.
type stuck struct {
	mu    sync.Mutex
	since map[job.ID]time.Time // guarded by mu
}

func (s *stuck) of(id job.ID) (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, ok = s.since[id]
	return since, ok
}

// keep takes the jobs that are stuck now. Those of which nobody can tell, since no machine is there that meets
// their requirements, are as stuck as they were.
func (s *stuck) keep(now time.Time, stuck, unknown []job.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[job.ID]time.Time, len(stuck))
	for _, id := range stuck {
		next[id] = now
	}
	for _, id := range slices.Concat(stuck, unknown) {
		if since, ok := s.since[id]; ok {
			next[id] = since
		}
	}
	s.since = next
}

// startOver has jobs whose checkpoints fit nowhere start over, until ctx ends.
func (s *Server) startOver(ctx context.Context) error {
	tick := time.NewTicker(stuckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.lookForStuck(ctx, time.Now())
		}
	}
}

// lookForStuck gives up the newest checkpoints of the jobs that have waited long enough.
func (s *Server) lookForStuck(ctx context.Context, now time.Time) {
	plan, jobs := s.planWithImages(now)
	waits := map[job.ID]*why.Waiting{}
	var ids, unknown []job.ID
	for _, id := range jobs {
		switch w := plan.Why(id); {
		case w == nil: // a machine is about to be offered
		case w.Stuck():
			waits[id] = w
			ids = append(ids, id)
		case w.Unsuited == w.Machines:
			unknown = append(unknown, id)
		}
	}
	s.stuck.keep(now, ids, unknown)
	for _, id := range ids {
		j, ok := s.cfg.Queue.Job(id)
		if !ok || j.State != job.Idle || j.Claim != nil && !j.Claim.Lapsed || len(j.Images) == 0 {
			continue
		}
		if at := s.startsOverAt(j, waits[id], now); at == 0 || at > now.Unix() {
			continue
		}
		s.giveUpImage(ctx, j, waits[id])
	}
}

// giveUpImage drops the newest checkpoint of a job.
func (s *Server) giveUpImage(ctx context.Context, j *job.Job, w *why.Waiting) {
	unfit := *w
	unfit.StartsOver = 0
	then := "the job starts over"
	if len(j.Images) > 1 {
		then = "the one before is tried"
	}
	reason := fmt.Sprintf("no machine could go on from it for %v: %s; %s", quantity.Duration(s.patience(j)), unfit.Sentence(time.Local), then)
	err := s.cfg.Queue.Commit(ctx, &job.ImageDropped{Job: j.ID, Epoch: j.Epoch, Digest: j.Images[0].Digest, Reason: shorten(reason)})
	if err != nil {
		if !errors.Is(err, queue.ErrMisfit) && ctx.Err() == nil {
			s.log.Warn("checkpoint not given up", diag.KeyJob, j.ID, diag.KeyError, err)
		}
		return
	}
	s.log.Info("checkpoint given up", diag.KeyJob, j.ID, "why", reason)
	s.matchAgain()
}

// startsOverAt is when a job gives up its newest checkpoint, in Unix seconds, if things stay as w says; 0 for
// never.
func (s *Server) startsOverAt(j *job.Job, w *why.Waiting, now time.Time) int64 {
	patience := s.patience(j)
	if !w.Stuck() || patience < 0 {
		return 0
	}
	since, ok := s.stuck.of(j.ID)
	if !ok {
		since = now // it has not been noticed yet
	}
	return since.Add(patience).Unix()
}

// patience is how long a job waits for a machine that its checkpoint fits; negative for ever.
func (s *Server) patience(j *job.Job) time.Duration {
	const most = int64(100 * 365 * 24 * time.Hour / time.Second)
	n, ok := j.Ad.Int(attrRestartAfter)
	switch {
	case !ok:
		return s.cfg.RestartAfter
	case n < 0:
		return -1
	}
	return time.Duration(min(n, most)) * time.Second
}

// planWithImages matches the waiting jobs that have checkpoints with needs, as if there were no others: whether
// these fit a machine depends on nothing else. It gives the jobs, too; if there are none, there is no plan.
func (s *Server) planWithImages(now time.Time) (*negotiate.Plan, []job.ID) {
	var batches []negotiate.Batch
	var jobs []job.ID
	for _, b := range s.waiting(now) {
		if n, _ := b.Ad.Int("NumCkpts"); n == 0 || !needsMachine(b.Ad) {
			continue
		}
		for _, r := range b.Procs { // one: jobs to which something has happened come one by one
			for proc := r.From; proc < r.Upto; proc++ {
				jobs = append(jobs, job.ID{Cluster: b.Cluster, Proc: proc})
			}
		}
		batches = append(batches, b)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	snapshot, _ := s.snapshotSlots(now)
	snapshot.Jobs, snapshot.Memo = batches, nil
	return negotiate.Cycle(snapshot), jobs
}

func needsMachine(ad *classad.Ad) bool {
	_, ok := ad.Lookup(negotiate.AttrCheckpointRequirements)
	return ok
}
