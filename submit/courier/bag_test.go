package courier

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/submit/client"
)

// slowPool is a pool whose outputs come when somebody lets them.
type slowPool struct {
	*script
	asked, come chan struct{}
	delivered   int
}

func (p *slowPool) Fetch(context.Context, job.ID, string, transfer.Progress) ([]string, error) {
	p.asked <- struct{}{}
	<-p.come
	return nil, nil
}

func (p *slowPool) Act(context.Context, wire.ActionVerb, wire.Selection, string, ...job.Assigned) (wire.ActionResult, error) {
	p.delivered++
	return wire.ActionResult{}, nil
}

// TestJobEndsWhileItsLastRunIsBrought: the outputs of two runs are brought one after the other, so that those of the
// last one are what is left.
func TestJobEndsWhileItsLastRunIsBrought(t *testing.T) {
	pool := &slowPool{asked: make(chan struct{}), come: make(chan struct{})}
	b := newBag(t.Context(), Config{Pool: pool, Retry: time.Second}, slog.New(slog.DiscardHandler))
	defer b.close()
	id := job.ID{Cluster: 7}
	b.add(id, false)
	b.start()
	<-pool.asked
	b.add(id, true)
	b.start()
	if b.active != 1 {
		t.Fatalf("%d errands at a time", b.active)
	}
	pool.come <- struct{}{}
	settle := func() (d delivery, empty bool) {
		d = (<-b.done)[0]
		b.back()
		empty = b.settle(d)
		b.start()
		return d, empty
	}
	d, empty := settle()
	if empty || d.over || pool.delivered != 0 {
		t.Errorf("after the first errand, %+v, the job is out of the bag; %d deliveries", d, pool.delivered)
	}
	<-pool.asked
	pool.come <- struct{}{}
	d, empty = settle()
	if empty || !d.over || pool.delivered != 1 || !b.jobs[id].sent {
		t.Errorf("after the second errand, %+v, the job stands at %+v; %d deliveries", d, b.jobs[id], pool.delivered)
	}
}

// crowd is a pool that knows of some jobs, and is told of several at a time.
type crowd struct {
	*script
	mu      sync.Mutex
	fetched []job.ID   // guarded by mu
	told    [][]job.ID // guarded by mu
	down    bool
}

func (p *crowd) Fetch(_ context.Context, id job.ID, _ string, _ transfer.Progress) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched = append(p.fetched, id)
	return nil, nil
}

func (p *crowd) Act(_ context.Context, _ wire.ActionVerb, sel wire.Selection, _ string, _ ...job.Assigned) (wire.ActionResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, sel.Jobs)
	if p.down {
		return wire.ActionResult{}, errors.New("nobody answers")
	}
	return wire.ActionResult{Not: map[string]string{"7.1": "there is no such job"}}, nil
}

// Of jobs that have ended without outputs the matchmaker is only told, of all at once.
func TestNothingToBring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := &crowd{}
		b := newBag(t.Context(), Config{Pool: pool, Retry: time.Second}, slog.New(slog.DiscardHandler))
		defer b.close()
		for proc := range 4 {
			b.end(job.ID{Cluster: 7, Proc: proc}, proc != 3)
		}
		got := map[job.ID]error{}
		take := func(errands int) {
			t.Helper()
			b.start()
			if b.active != errands {
				t.Fatalf("%d errands, want %d", b.active, errands)
			}
			for range errands {
				all := <-b.done
				b.back()
				for _, d := range all {
					b.settle(d)
					got[d.id] = d.err
				}
			}
		}
		id := func(proc int) job.ID { return job.ID{Cluster: 7, Proc: proc} }
		take(2)
		if want := []job.ID{id(3)}; !slices.Equal(pool.fetched, want) {
			t.Errorf("outputs were fetched of %v, want %v", pool.fetched, want)
		}
		if len(pool.told) != 2 || !slices.ContainsFunc(pool.told, func(ids []job.ID) bool { return slices.Equal(ids, []job.ID{id(0), id(1), id(2)}) }) {
			t.Errorf("the matchmaker was told of %v", pool.told)
		}
		for proc := range 4 {
			if untold := proc == 1; errors.Is(got[id(proc)], errUntold) != untold || b.sent(id(proc)) == untold {
				t.Errorf("proc %d: %v, sent: %v", proc, got[id(proc)], b.sent(id(proc)))
			}
		}
		pool.down = true
		b.end(id(4), true)
		time.Sleep(time.Second) // proc 1 is tried again, too
		take(1)
		if pool.down = false; b.sent(id(4)) || got[id(4)] == nil {
			t.Error("a matchmaker that does not answer has been told")
		}
		time.Sleep(time.Second)
		if take(1); !b.sent(id(4)) {
			t.Error("the matchmaker is not told again")
		}
	})
}

// forgetful is a pool that has nothing of its jobs any more, but in its history.
type forgetful struct{ *script }

func (forgetful) Fetch(context.Context, job.ID, string, transfer.Progress) ([]string, error) {
	return nil, client.ErrNoOutputs
}

func (f forgetful) Columns(ctx context.Context, kind wire.QueryKind, sel wire.Selection, exprs []string, limit int, row func([]string) error) error {
	if kind != wire.QueryHistory {
		return nil
	}
	return f.script.Columns(ctx, wire.QueryJobs, sel, exprs, limit, row)
}

// forgottenLife is a job whose end is the last that its matchmaker knows of it.
func forgottenLife(dir string) *script {
	s := aLife(dir)
	a := job.ID{Cluster: 5}
	bodies := []job.Body{
		s.events[1].Body.(*job.Submitted),
		&job.Offered{Job: a, Epoch: 1, Slot: "slot1@desk1", Machine: "desk1"}, &job.Started{Job: a, Epoch: 1},
		&job.Withdrawn{Job: job.ID{Cluster: 5, Proc: 1}}, &job.Ended{Job: a, Epoch: 1, Result: job.Result{Outputs: []job.File{{Name: "result"}}}},
	}
	s.events = nil
	for i, body := range bodies {
		s.events = append(s.events, job.Event{Seq: uint64(i + 1), At: noon, Body: body})
	}
	return s
}

// TestMatchmakerForgets: the end of a job of which the matchmaker knows nothing is told, but only when it has had a day to
// remember.
func TestMatchmakerForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, state := t.TempDir(), t.TempDir()
		s := forgottenLife(dir)
		for _, tt := range []struct {
			name       string
			after      time.Duration
			told, left bool
		}{
			{"at once", 0, false, true},
			{"soon", time.Hour, false, true},
			{"a day later", forgottenAfter, true, false},
			{"and no more", time.Hour, true, false},
		} {
			time.Sleep(tt.after)
			c, err := New(Config{Pool: forgetful{s}, Host: "here", Dir: state, Zone: time.UTC})
			if err != nil {
				t.Fatal(err)
			}
			left, err := c.Run(t.Context())
			if err != nil || left != tt.left {
				t.Errorf("%s: the courier ended with %v, something left: %v", tt.name, err, left)
			}
			log := content(t, filepath.Join(dir, "job.log"))
			for _, what := range []string{"\n005 (", saysForgotten} {
				if n := strings.Count(log, what); (n == 1) != tt.told || n > 1 {
					t.Errorf("%s: the log says %q %d times:\n%s", tt.name, what, n, log)
				}
			}
		}
	})
}
