package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
)

func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &countingLog{MemoryLog: bus.NewMemoryLog()}
		q, err := Open(t.Context(), Config{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		const callers = 2500
		receipts := make(chan Receipt, callers)
		var wg sync.WaitGroup
		for i := range callers {
			s := described(t, "ann", fmt.Sprint("r", i), 1)
			wg.Go(func() {
				r, err := q.Submit(t.Context(), s)
				if err != nil {
					t.Error(err)
				}
				receipts <- r
			})
		}
		synctest.Wait() // all callers wait for the committer now
		log.appends = 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		wg.Wait()
		cancel()
		<-done
		close(receipts)
		seen := map[Receipt]bool{}
		for r := range receipts {
			if seen[r] || r.Seq != uint64(r.Cluster)+1 {
				t.Errorf("receipt %+v", r)
			}
			seen[r] = true
		}
		if last, _ := q.Last(); last != callers+1 {
			t.Errorf("the log ends at %d, want %d", last, callers+1)
		}
		if log.largest != maxBatch {
			t.Errorf("the largest batch had %d events, want %d", log.largest, maxBatch)
		}
		if log.appends > callers/10 {
			t.Errorf("%d appends for %d callers: they were not gathered", log.appends, callers)
		}
	})
}

// countingLog counts appends.
type countingLog struct {
	*bus.MemoryLog
	appends int
	largest int
}

func (l *countingLog) Append(ctx context.Context, expect uint64, records [][]byte) (uint64, error) {
	l.appends++
	l.largest = max(l.largest, len(records))
	return l.MemoryLog.Append(ctx, expect, records)
}

func TestCommitIsAllOrNothing(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	id := job.ID{Cluster: submit(t, q, "ann", 1)}
	before := dump(t, q.state)
	err := q.Commit(t.Context(), &job.Offered{Job: id, Epoch: 1}, &job.Started{Job: id, Epoch: 2})
	if !errors.Is(err, ErrMisfit) {
		t.Errorf("got %v", err)
	}
	if after := dump(t, q.state); after != before {
		t.Errorf("half of it was committed:\n%s", after)
	}
	errs := q.CommitEach(t.Context(), []job.Body{
		&job.Offered{Job: id, Epoch: 1},
		&job.Offered{Job: id, Epoch: 1},
		&job.Released{Job: job.ID{Cluster: 99}},
		&job.Started{Job: id, Epoch: 1},
	})
	for i, misfit := range []bool{false, true, true, false} {
		if errors.Is(errs[i], ErrMisfit) != misfit {
			t.Errorf("event %d of four gave %v", i, errs[i])
		}
	}
}

func TestUnknownOutcome(t *testing.T) {
	for _, tt := range []struct {
		name   string
		arrive bool
	}{
		{"it had arrived", true},
		{"it had not", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &forgetfulLog{MemoryLog: bus.NewMemoryLog()}
			q, _ := start(t, Config{Log: log})
			log.lose, log.arrive = true, tt.arrive
			if c := submit(t, q, "ann", 1); c != 1 {
				t.Errorf("cluster %d", c)
			}
			submit(t, q, "ann", 1)
			if last, _ := log.Last(t.Context()); last != 3 {
				t.Errorf("the log ends at %d, want 3", last)
			}
		})
	}
}

// forgetfulLog loses the acknowledgement of one append, or all of it.
type forgetfulLog struct {
	*bus.MemoryLog
	lose, arrive bool
	meanwhile    func() // nil, or what happens then
}

func (l *forgetfulLog) Append(ctx context.Context, expect uint64, records [][]byte) (uint64, error) {
	if !l.lose {
		return l.MemoryLog.Append(ctx, expect, records)
	}
	l.lose = false
	if l.arrive {
		if _, err := l.MemoryLog.Append(ctx, expect, records); err != nil {
			return 0, err
		}
	}
	if l.meanwhile != nil {
		l.meanwhile()
	}
	return 0, bus.ErrUnknownOutcome
}

func TestStaleLeaderStops(t *testing.T) {
	for _, lostAck := range []bool{false, true} {
		t.Run(fmt.Sprint("lost ack ", lostAck), func(t *testing.T) {
			log := &forgetfulLog{MemoryLog: bus.NewMemoryLog()}
			old, err := Open(t.Context(), Config{Log: log})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- old.Run(t.Context()) }()
			submit(t, old, "ann", 1)
			start(t, Config{Log: log.MemoryLog})

			log.lose = lostAck
			if _, err := old.Submit(t.Context(), described(t, "ann", "", 1)); !errors.Is(err, ErrStale) {
				t.Errorf("the old leader's caller got %v", err)
			}
			if err := <-done; !errors.Is(err, ErrStale) {
				t.Errorf("the old leader ended with %v", err)
			}
			if err := old.Commit(t.Context(), &job.Withdrawn{Job: job.ID{Cluster: 1}}); !errors.Is(err, ErrStopped) {
				t.Errorf("a stopped queue says %v", err)
			}
			if last, _ := log.Last(t.Context()); last != 3 {
				t.Errorf("the log ends at %d, want 3", last)
			}
		})
	}
}

// What an old leader has logged it has logged, though it learns of that only after another one has taken over.
func TestStaleLeaderKnowsItsLastAppend(t *testing.T) {
	log := &forgetfulLog{MemoryLog: bus.NewMemoryLog()}
	old, err := Open(t.Context(), Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	log.lose, log.arrive = true, true
	log.meanwhile = func() { start(t, Config{Log: log.MemoryLog}) }
	done := make(chan error, 1)
	go func() { done <- old.Run(t.Context()) }()
	r, err := old.Submit(t.Context(), described(t, "ann", "r1", 1))
	if err != nil || r.Seq != 2 {
		t.Errorf("the submit is told %+v, %v, want that it is event 2", r, err)
	}
	if _, err := old.Submit(t.Context(), described(t, "ann", "r2", 1)); !errors.Is(err, ErrStale) {
		t.Errorf("the next one is told %v, want %v", err, ErrStale)
	}
	if err := <-done; !errors.Is(err, ErrStale) {
		t.Errorf("the old leader ended with %v", err)
	}
}

func TestRefusedAppendIsReported(t *testing.T) {
	log := &fullLog{MemoryLog: bus.NewMemoryLog()}
	q, _ := start(t, Config{Log: log})
	log.full = true
	_, err := q.Submit(t.Context(), described(t, "ann", "", 1))
	if p := (*diag.Problem)(nil); !errors.As(err, &p) || !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	log.full = false
	if c := submit(t, q, "ann", 1); c != 1 {
		t.Errorf("then cluster %d, want 1", c)
	}
}

var errFull = errors.New("no space left")

type fullLog struct {
	*bus.MemoryLog
	full bool
}

func (l *fullLog) Append(ctx context.Context, expect uint64, records [][]byte) (uint64, error) {
	if l.full {
		return 0, errFull
	}
	return l.MemoryLog.Append(ctx, expect, records)
}
