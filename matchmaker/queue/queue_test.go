package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/policy/classad"
)

// start opens a queue over log and runs it until the test ends or stop is called.
func start(t *testing.T, cfg Config) (q *Queue, stop func() error) {
	t.Helper()
	q, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	return q, stop
}

func described(t testing.TB, user, request string, procs int) *job.Submitted {
	t.Helper()
	ad, err := classad.ParseAd(`[ Cmd = "sim"; Requirements = TARGET.Memory > 1 ]`)
	if err != nil {
		t.Fatal(err)
	}
	s := &job.Submitted{User: job.UserID(user), Owner: strings.ToUpper(user), Request: request, Ad: ad}
	for i := range procs {
		p := classad.NewAd()
		p.SetInt("Index", int64(i))
		s.Procs = append(s.Procs, p)
	}
	return s
}

func submit(t testing.TB, q *Queue, user string, procs int) int {
	t.Helper()
	r, err := q.Submit(t.Context(), described(t, user, "", procs))
	if err != nil {
		t.Fatal(err)
	}
	return r.Cluster
}

func commit(t testing.TB, q *Queue, bodies ...job.Body) {
	t.Helper()
	if err := q.Commit(t.Context(), bodies...); err != nil {
		t.Fatal(err)
	}
}

func TestReopen(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	id := job.ID{Cluster: submit(t, q, "ann", 1)}
	commit(t, q, &job.Offered{Job: id, Claim: "c1", Epoch: 1, Agent: "a", Machine: "m"}, &job.Started{Job: id, Epoch: 1})
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("a clean stop gives %v", err)
	}

	q, _ = start(t, Config{Log: log})
	j, ok := q.Job(id)
	if !ok || j.State != job.Running || j.Claim.ID != "c1" {
		t.Fatalf("after the restart the job is %+v", j)
	}
	if c := submit(t, q, "ann", 1); c != 2 {
		t.Errorf("the next cluster is %d, want 2", c)
	}
	// Two leaders, a cluster, two events of the job, a cluster.
	if last, _ := q.Last(); last != 6 {
		t.Errorf("the log ends at %d, want 6", last)
	}
}

func TestSubmitIsIdempotent(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	first, err := q.Submit(t.Context(), described(t, "ann", "r1", 2))
	if err != nil {
		t.Fatal(err)
	}
	same := func(q *Queue) {
		t.Helper()
		if again, err := q.Submit(t.Context(), described(t, "ann", "r1", 2)); err != nil || again != first {
			t.Errorf("the same request gave %+v, %v, want %+v", again, err, first)
		}
	}
	same(q)
	if other, _ := q.Submit(t.Context(), described(t, "bob", "r1", 2)); other == first {
		t.Error("another user's request of the same name got the same cluster")
	}
	stop()
	q, _ = start(t, Config{Log: log})
	same(q)
	if jobs := q.Jobs("ann"); len(jobs) != 2 {
		t.Errorf("ann has %d jobs, want 2", len(jobs))
	}
}

func TestLimits(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog(), MaxPerUser: 3, MaxJobs: 5})
	refused := func(user string, n int, what string) {
		t.Helper()
		_, err := q.Submit(t.Context(), described(t, user, "", n))
		if p := (*diag.Problem)(nil); !errors.As(err, &p) || !strings.Contains(p.What, what) {
			t.Errorf("%d more of %s gave %v", n, user, err)
		}
	}
	submit(t, q, "ann", 2)
	refused("ann", 2, "a user may have 3")
	submit(t, q, "bob", 3)
	refused("eve", 1, "queue is full")
	// A job that ended counts until its outputs are fetched.
	id := job.ID{Cluster: 1}
	commit(t, q, &job.Offered{Job: id, Epoch: 1}, &job.Started{Job: id, Epoch: 1}, &job.Ended{Job: id, Epoch: 1})
	refused("eve", 1, "queue is full")
	commit(t, q, &job.Delivered{Job: id})
	submit(t, q, "eve", 1)
	// A removed one does not.
	commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 2}})
	submit(t, q, "bob", 1)
}

func TestTooLargeEvent(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	s := described(t, "ann", "", 1)
	s.Ad.SetString("Note", strings.Repeat("x", maxRecord))
	_, err := q.Submit(t.Context(), s)
	if p := (*diag.Problem)(nil); !errors.As(err, &p) {
		t.Errorf("got %v", err)
	}
	if c := submit(t, q, "ann", 1); c != 1 {
		t.Errorf("then cluster %d, want 1", c)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog(), MaxHistory: 2})
	submit(t, q, "ann", 4)
	for i := range 4 {
		commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 1, Proc: i}})
	}
	submit(t, q, "ann", 1)
	undelivered := job.ID{Cluster: 2}
	commit(t, q, &job.Offered{Job: undelivered, Epoch: 1}, &job.Started{Job: undelivered, Epoch: 1}, &job.Ended{Job: undelivered, Epoch: 1})
	var ids []job.ID
	for _, j := range q.History("ann") {
		ids = append(ids, j.ID)
	}
	if got := fmt.Sprint(ids); got != "[2.0 1.3 1.2]" {
		t.Errorf("history has %s", got)
	}
	if _, ok := q.Job(job.ID{Cluster: 1}); ok {
		t.Error("1.0 is still known")
	}
}

func parse(t testing.TB, text string) *classad.Expr {
	t.Helper()
	e, err := classad.ParseExpr(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
