// Package queue is the pool's job queue: a table in memory that is what the events of the queue log
// add up to.
//
// One rule governs it: the log comes first. Nothing is true before it is in the log and on disk, and a
// caller learns of it only then. Every event is checked against the state that it follows on, every
// append names the sequence it expects to follow, and whoever finds that another leader has written
// stops. A log that has a gap, or an event that is unknown or does not fit, is not read past that
// place: a queue that skipped an event would be a different queue.
//
// Callers commit events concurrently; one goroutine, the committer, gathers those that wait into
// batches, so that many callers share one flush of the disk.
//
// The jobs of a cluster to which nothing has happened are not held in memory: they are made of the cluster's ad
// and what its table says of them when somebody asks. Those of a cluster with late materialization enter the
// queue with events of their own, as many as its limits allow.
//
// Jobs that ended stay in memory and can be asked for: those whose outputs wait to be fetched until
// they are, and of the rest the last [Config.MaxHistory]. All of the rest are in [Config.History], on disk.
//
// Beside the log there are an archive, which is a plain copy of it that lasts longer, and snapshots of the state, so
// that a restart reads little and the log can forget what is old. Both follow from the log; either may be lost.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/matchmaker/history"
)

// Log is the durable log that the queue lives in; [skua/internal/bus.Log] says what each method
// promises.
type Log interface {
	Append(ctx context.Context, expectLast uint64, records [][]byte) (last uint64, err error)
	AppendInOrder(ctx context.Context, expectLast uint64, records [][]byte) (last uint64, err error)
	Read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error
	Last(ctx context.Context) (uint64, error)
	Await(ctx context.Context, after uint64) (last uint64, err error)
	First(ctx context.Context) (uint64, error)
	Purge(ctx context.Context, before uint64) error
}

// Tables gives blobs by their digests, verified. [skua/internal/blob.Store] does. One that may be there later, though it
// cannot be had now, is [ErrTableAway].
type Tables interface {
	Read(d blob.Digest, limit int64) ([]byte, error)
}

// Config is what a Queue is made of.
type Config struct {
	Log     Log          // required
	Tables  Tables       // where the tables of large clusters are; nil means that there are only inline ones
	Archive *Archive     // copy of the log; nil for none, and then the log is never purged; the caller closes it
	Leader  string       // names this process in the log; "" means a random name
	Logger  *slog.Logger // nil means no logging

	// Mend lets [Watch] add to the log what only the archive has, after the log has lost its end. It is for a
	// log that nobody else writes.
	Mend bool

	Snapshots     string // directory of snapshots; "" for none
	SnapshotEvery uint64 // events from one to the next; 0 means 50,000

	History *history.Store // where jobs go that are done with; nil for nowhere; the caller closes it

	// Horizon says from which event on others still need the log; nil means that nobody does.
	Horizon func() uint64

	MaxJobs    int // jobs that have not ended or wait to be fetched, in all; 0 means 1,000,000
	MaxPerUser int // the same for one user; 0 means 250,000
	MaxHistory int // ended jobs kept in memory beyond those; 0 means 10,000

	HalfLife time.Duration // after which past use of the pool counts half; 0 means [negotiate.DefaultHalfLife]
}

// Errors that callers branch on.
var (
	ErrMisfit  = errors.New("the job has changed meanwhile")               // the event does not follow on the state; nothing was logged
	ErrStale   = errors.New("another matchmaker has taken over the queue") // what was asked may have been logged
	ErrStopped = errors.New("the queue has stopped")                       // what was asked may have been logged
	ErrAway    = errors.New("the queue log cannot be reached")             // nothing was logged

	ErrTableAway = errors.New("the table cannot be had now") // nothing is wrong with the log
)

// Queue is the pool's job queue. Its methods may be called from any goroutine. The jobs and events that
// they return are shared and must not be changed; a job is replaced, never altered, so that what a
// caller holds is a consistent picture of one moment.
type Queue struct {
	cfg Config
	log *slog.Logger

	snapshot uint64 // sequence of the newest snapshot; once the queue runs it is the goroutine's that takes them

	requests chan *request
	stopped  chan struct{} // closed when Run has returned

	recording    sync.Mutex // held while jobs are added to the history
	recordFailed time.Time  // when that last was not possible; guarded by recording

	mu     sync.RWMutex // guards what follows; only the committer changes it, or who follows the log
	state  *state
	recent recent
	grown  chan struct{} // closed and replaced with each batch
}

// Run commits what callers ask for until ctx ends or another leader takes over, which is [ErrStale].
// When it returns, waiting callers have been told that the queue has stopped.
func (q *Queue) Run(ctx context.Context) error {
	defer close(q.stopped)
	ctx, stop := context.WithCancel(ctx)
	wait := q.besides(ctx, true)
	c := committer{q: q}
	err := c.run(ctx)
	stop()
	wait()
	if errors.Is(err, ErrStale) {
		q.log.Error("queue stopped", diag.KeyError, err)
	}
	return err
}

// besides starts what goes on beside the log until ctx ends, and gives a function that waits for its end. Only the
// leader has the log forget something.
func (q *Queue) besides(ctx context.Context, leads bool) (wait func()) {
	var beside sync.WaitGroup
	beside.Go(func() { q.syncCopies(ctx) })
	beside.Go(func() { q.keepSnapshots(ctx, leads) })
	return beside.Wait
}

// Commit appends events, at most [bus.MaxBatch], all or none, and returns once they are on disk and the
// state has them. An event that does not fit is [ErrMisfit]. When ctx ends first, the outcome is not
// known.
func (q *Queue) Commit(ctx context.Context, bodies ...job.Body) error {
	return q.commit(ctx, &request{bodies: bodies})
}

// CommitInOrder is Commit for events of which the first ones may stand alone, which costs less: they are all committed or
// none, but after a crash that comes before it returns the log may have the first ones only.
func (q *Queue) CommitInOrder(ctx context.Context, bodies ...job.Body) error {
	return q.commit(ctx, &request{bodies: bodies, inOrder: true})
}

func (q *Queue) commit(ctx context.Context, r *request) error {
	bodies := r.bodies
	if len(bodies) == 0 {
		return nil
	}
	if len(bodies) > maxBatch {
		return fmt.Errorf("commit: %d events at once, at most %d are possible", len(bodies), maxBatch)
	}
	r.done = make(chan struct{})
	q.send(ctx, r)
	return q.wait(ctx, r)
}

// CommitEach appends events of which each stands for itself. The errors are those of [Queue.Commit], in
// the order of the events.
func (q *Queue) CommitEach(ctx context.Context, bodies []job.Body) []error {
	requests := make([]*request, len(bodies))
	for i, b := range bodies {
		requests[i] = &request{bodies: []job.Body{b}, done: make(chan struct{})}
		q.send(ctx, requests[i])
	}
	errs := make([]error, len(bodies))
	for i, r := range requests {
		errs[i] = q.wait(ctx, r)
	}
	return errs
}

// Receipt says where a submit went.
type Receipt struct {
	Cluster int
	Seq     uint64 // of the event that added it
}

// Submit adds a cluster and gives it the next number; s.Cluster does not matter, and s is the queue's
// from here on. A request that this user has made before gets the answer it got then. A submit beyond
// the limits is a [diag.Problem]. The first jobs of a cluster with late materialization enter the queue at the
// same time; [Queue.Due] says when it is time for others.
func (q *Queue) Submit(ctx context.Context, s *job.Submitted) (Receipt, error) {
	r := &request{bodies: []job.Body{s}, done: make(chan struct{})}
	if s.Table != nil {
		var err error
		if r.table, err = q.Table(s.Table); err != nil {
			return Receipt{}, err
		}
	}
	q.send(ctx, r)
	if err := q.wait(ctx, r); err != nil {
		return Receipt{}, err
	}
	return r.receipt, nil
}

// Known gives the answer to a request that a user has made before.
func (q *Queue) Known(user job.UserID, request string) (Receipt, bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	r, ok := q.state.requests[requestKey{user, request}]
	return r, ok && request != ""
}

// Table reads the table of a cluster.
func (q *Queue) Table(ref *job.TableRef) (*job.Table, error) {
	data := ref.Inline
	switch {
	case ref.Digest != "" && len(data) > 0 || ref.Digest == "" && len(data) == 0:
		return nil, errors.New("a table has either a digest or is inline")
	case ref.Digest != "" && q.cfg.Tables == nil:
		return nil, fmt.Errorf("table %s: there is no file service to have it", ref.Digest.Short())
	case ref.Digest != "":
		var err error
		if data, err = q.cfg.Tables.Read(ref.Digest, job.MaxTable); err != nil {
			return nil, fmt.Errorf("table %s: %w", ref.Digest.Short(), err)
		}
	}
	t, err := job.ReadTable(data)
	if err != nil {
		return nil, err
	}
	if t.Len() != ref.Count {
		return nil, fmt.Errorf("a table has %d rows, not %d as its cluster says", t.Len(), ref.Count)
	}
	return t, nil
}

// send hands a request to the committer, or settles it.
func (q *Queue) send(ctx context.Context, r *request) {
	select {
	case q.requests <- r:
	case <-ctx.Done():
		r.finish(ctx.Err())
	case <-q.stopped:
		r.finish(ErrStopped)
	}
}

func (q *Queue) wait(ctx context.Context, r *request) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("commit: %w", ctx.Err())
	case <-q.stopped:
	}
	select {
	case <-r.done: // settled just before the end
		return r.err
	default:
		return ErrStopped
	}
}
