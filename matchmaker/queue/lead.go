package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
)

// hintDamaged is what to do about a damaged log.
const hintDamaged = "skua-matchmaker log verify says what is whole, and log repair mends it; see docs/operations.md"

// ErrDamaged is the error of a log that cannot be followed past some event. Trying again does not help.
var ErrDamaged = errors.New("the queue log is damaged")

const defaultHistory = 10_000 // ended jobs in memory

// Watch makes a queue of what the log says and writes nothing. Such a queue can be asked and followed, and it
// commits nothing before it leads: [Queue.Follow], [Queue.Lead] and [Queue.Run] are called one after another.
func Watch(ctx context.Context, cfg Config) (*Queue, error) {
	if cfg.Log == nil {
		return nil, errors.New("open queue: no log")
	}
	setDefault(&cfg.MaxJobs, 1_000_000)
	setDefault(&cfg.MaxPerUser, 250_000)
	setDefault(&cfg.MaxHistory, defaultHistory)
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = 50_000
	}
	if cfg.Leader == "" {
		cfg.Leader = rand.Text()
	}
	q := &Queue{
		cfg: cfg, log: cfg.Logger,
		requests: make(chan *request, maxBatch),
		stopped:  make(chan struct{}),
		grown:    make(chan struct{}),
	}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	q.state = q.emptyState()
	start := time.Now()
	if err := q.reconcile(ctx); err != nil {
		return nil, fmt.Errorf("open queue: %w", explainGap(err))
	}
	if err := q.resume(ctx); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	from := q.state.seq
	if err := q.replay(ctx); err != nil {
		return nil, fmt.Errorf("open queue: %w", explainGap(err))
	}
	q.recordDone()
	q.log.Info("queue read", "snapshot", from, "events", q.state.seq-from, "jobs", q.state.total, diag.KeyTook, time.Since(start))
	return q, nil
}

// explainGap says what can be done about missing events.
func explainGap(err error) error {
	var gap *bus.GapError
	if !errors.As(err, &gap) {
		return err
	}
	what := fmt.Sprintf("queue log: event %d is missing", gap.From)
	if gap.Next > gap.From+1 {
		what = fmt.Sprintf("queue log: the events %d to %d are missing", gap.From, gap.Next-1)
	}
	return &diag.Problem{What: what, Hint: "nothing has been changed; " + hintDamaged, Err: err}
}

func (q *Queue) emptyState() *state {
	s := newState(q.cfg.MaxHistory)
	s.accounts.halfLife = q.cfg.HalfLife
	s.tables = q.Table
	s.keepDone = q.cfg.History != nil
	return s
}

func setDefault(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// Open makes a queue of what the log says and leads it: see [Watch] and [Queue.Lead].
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	q, err := Watch(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return q, q.Lead(ctx)
}

// followAgain is how long Follow waits after the log could not be read.
const followAgain = time.Second

// Follow takes in what the leader logs, as it comes, until ctx ends, which is its error then. A log that cannot be
// reached is tried again, and so is a table. [ErrDamaged] and [bus.ErrGap] end it: the first cannot be mended by waiting; the second
// may mean that the log has forgotten what comes next, and whoever watches anew begins with a newer snapshot.
func (q *Queue) Follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer q.besides(ctx, false)()
	defer stop()
	archive := archivist{q: q}
	for {
		_, err := q.cfg.Log.Await(ctx, q.state.seq)
		if err == nil {
			err = q.replay(ctx)
		}
		switch {
		case err == nil:
			archive.follow(ctx)
			q.recordDone()
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrDamaged), errors.Is(err, bus.ErrGap):
			return fmt.Errorf("follow queue: %w", err)
		}
		q.log.Warn("queue log cannot be followed for now", diag.KeySeq, q.state.seq, diag.KeyError, err)
		select {
		case <-time.After(followAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Lead makes this queue the one that writes the log: from its first event on, what an earlier leader tries to
// append is refused. Of several that try at the same time, each leads in its turn, and the last one stays.
func (q *Queue) Lead(ctx context.Context) error {
	c := committer{q: q}
	for {
		r := &request{bodies: []job.Body{&job.LeaderEpoch{Leader: q.cfg.Leader}}, done: make(chan struct{})}
		err := c.commit(ctx, []*request{r})
		if err == nil {
			err = r.err
		}
		if err == nil {
			q.log.Info("queue led", diag.KeySeq, q.state.seq, "jobs", q.state.total)
			return nil
		}
		if errors.Is(err, ErrStale) { // somebody has written meanwhile
			err = q.replay(ctx)
		}
		if err != nil {
			return fmt.Errorf("lead queue: %w", err)
		}
	}
}

// replay brings the state to the end of the log. After an error the state is that of the last event before, and
// [ErrTableAway] may be tried again.
func (q *Queue) replay(ctx context.Context) error {
	defer q.wake()
	return q.read(ctx, q.state.seq+1, func(seq uint64, data []byte) error {
		err := q.replayOne(seq, data)
		if seq%maxBatch == 0 {
			q.recordDone() // rather than keep them all in memory
		}
		if errors.Is(err, ErrTableAway) {
			return fmt.Errorf("queue log, event %d: %w", seq, err)
		}
		if err != nil {
			hint := hintDamaged
			if errors.Is(err, blob.ErrNotFound) {
				hint = "a table is a file of the file service, and old ones are removed: bring back the files too, or a snapshot that stands for the event; " + hint
			}
			return &diag.Problem{
				What: fmt.Sprintf("queue log, event %d: %v", seq, err),
				Hint: "nothing has been changed; " + hint,
				Err:  fmt.Errorf("%w: %w", ErrDamaged, err),
			}
		}
		return nil
	})
}

// wake tells those who wait for it that the state has advanced.
func (q *Queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.grown)
	q.grown = make(chan struct{})
}

// replayOne advances the state by one record of the log.
func (q *Queue) replayOne(seq uint64, record []byte) error {
	if seq != q.state.seq+1 {
		return fmt.Errorf("event %d comes where %d is due", seq, q.state.seq+1)
	}
	next, err := q.state.chain.check(record)
	if err != nil {
		return err
	}
	var ev job.Event
	if err := ev.UnmarshalJSON(record); err != nil {
		return err
	}
	ev.Seq = seq
	var c *job.Cluster
	if b, ok := ev.Body.(*job.Submitted); ok { // without the lock: its table may be large, or come from far away
		if c, err = q.state.makeCluster(ev, b); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if c != nil {
		err = q.state.add(ev, c)
	} else {
		err = q.state.apply(ev)
	}
	if err != nil {
		return err
	}
	q.state.chain = next
	q.recent.add(ev, len(record), q.state.userOf(ev))
	return nil
}
