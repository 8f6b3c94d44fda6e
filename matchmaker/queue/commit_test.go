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

// What must be in the log whole or not at all goes there as one, whatever else goes with it.
func TestWhatMayBeLoggedInPart(t *testing.T) {
	one := func(id job.ID) *request { return &request{bodies: []job.Body{&job.Offered{Job: id, Epoch: 1}}} }
	run := func(id job.ID) *request {
		return &request{bodies: []job.Body{&job.Offered{Job: id, Epoch: 1}, &job.Started{Job: id, Epoch: 1}}}
	}
	inOrder := func(r *request) *request { r.inOrder = true; return r }
	late := func(job.ID) *request {
		s := described(t, "ann", "late", 3)
		s.Ad.SetInt("JobMaterializeLimit", 1)
		s = withTable(t, s)
		table, err := job.ReadTable(s.Table.Inline)
		if err != nil {
			t.Fatal(err)
		}
		return &request{bodies: []job.Body{s}, table: table}
	}
	for _, tt := range []struct {
		name  string
		batch []func(job.ID) *request
		want  bool
	}{
		{"one event", []func(job.ID) *request{one}, true},
		{"events of several callers", []func(job.ID) *request{one, one, one}, true},
		{"several of one", []func(job.ID) *request{run}, false},
		{"several in order", []func(job.ID) *request{func(id job.ID) *request { return inOrder(run(id)) }, one}, true},
		{"one among others", []func(job.ID) *request{one, run, one}, false},
		{"a cluster with its first jobs", []func(job.ID) *request{one, late}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &countingLog{MemoryLog: bus.NewMemoryLog()}
			q, stop := start(t, Config{Log: log})
			cluster := submit(t, q, "ann", len(tt.batch))
			stop()
			var batch []*request
			for i, f := range tt.batch {
				batch = append(batch, f(job.ID{Cluster: cluster, Proc: i}))
			}
			before := *log
			if err := (&committer{q: q}).commit(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			for i, r := range batch {
				if r.err != nil {
					t.Errorf("request %d: %v", i, r.err)
				}
			}
			if appends, got := log.appends-before.appends, log.inOrder > before.inOrder; appends != 1 || got != tt.want {
				t.Errorf("%d appends, in order: %v, want one, %v", appends, got, tt.want)
			}
		})
	}
}

// countingLog counts appends.
type countingLog struct {
	*bus.MemoryLog
	appends int
	inOrder int // of them
	largest int
}

func (l *countingLog) Append(ctx context.Context, expect uint64, records [][]byte) (uint64, error) {
	l.appends++
	l.largest = max(l.largest, len(records))
	return l.MemoryLog.Append(ctx, expect, records)
}

func (l *countingLog) AppendInOrder(ctx context.Context, expect uint64, records [][]byte) (uint64, error) {
	l.inOrder++
	return l.Append(ctx, expect, records)
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

func (l *forgetfulLog) AppendInOrder(ctx context.Context, expect uint64, records [][]byte) (uint64, error) {
	return l.Append(ctx, expect, records)
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

func (l *fullLog) AppendInOrder(ctx context.Context, expect uint64, records [][]byte) (uint64, error) {
	return l.Append(ctx, expect, records)
}
