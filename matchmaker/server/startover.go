package server

import (
	"context"
	"errors"
	"fmt"
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

	// settling is how long a matchmaker that has just started waits for the machines to say that they are there,
	// before it believes that those which a checkpoint needs are not.
	settling = 10 * time.Minute
)

const attrRestartAfter = "RestartAfter"

// startOver has jobs whose checkpoints fit nowhere start over, until ctx ends.
func (s *Server) startOver(ctx context.Context) error {
	look := time.NewTimer(settling)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			s.lookForStuck(ctx, time.Now())
			look.Reset(stuckEvery)
		}
	}
}

// lookForStuck notes which jobs are stuck, and gives up the newest checkpoints of those that have been for long
// enough.
func (s *Server) lookForStuck(ctx context.Context, now time.Time) {
	plan, jobs := s.planWithImages(now)
	var news []job.Body
	for _, id := range jobs {
		j, ok := s.cfg.Queue.Job(id)
		if !ok || j.State != job.Idle || j.Claim != nil && !j.Claim.Lapsed || len(j.Images) == 0 {
			continue
		}
		w := plan.Why(id)
		if b := stranded(j, w); b != nil {
			news = append(news, b)
		}
		if w == nil || !w.Stuck() {
			continue
		}
		if at := s.startsOverAt(j, w, now); at != 0 && at <= now.Unix() {
			s.giveUpImage(ctx, j, w)
		}
	}
	for i, err := range s.cfg.Queue.CommitEach(ctx, news) {
		if err != nil && !errors.Is(err, queue.ErrMisfit) && ctx.Err() == nil {
			s.log.Warn("not noted whether a machine can go on from a checkpoint", diag.KeyJob, news[i].Jobs()[0], diag.KeyError, err)
		}
	}
}

// stranded is the event to log when a job has become stuck, or is so no more; nil if nothing has changed. One of which
// nobody can tell, since no machine is there that meets its requirements, is as stuck as it was.
func stranded(j *job.Job, w *why.Waiting) job.Body {
	stuck := w != nil && w.Stuck() // nil: a machine is about to be offered
	unknown := w != nil && w.Unsuited == w.Machines
	if was := !j.Stranded.IsZero(); stuck == was || !stuck && unknown {
		return nil
	}
	return &job.Stranded{Job: j.ID, Epoch: j.Epoch, Over: !stuck}
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
	since := j.Stranded
	if since.IsZero() {
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
