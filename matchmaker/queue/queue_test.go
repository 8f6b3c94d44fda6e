package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

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

func cluster(t testing.TB, user, request string, procs int) *job.Submitted {
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
	r, err := q.Submit(t.Context(), cluster(t, user, "", procs))
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

// dump writes down all of a state that two equal ones must share.
func dump(t testing.TB, s *state) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, s.seq, s.cluster, s.users, s.held, s.total, s.history, s.requests, s.requestOrder)
	part := func(name string, jobs map[job.ID]*job.Job) {
		ids := make([]job.ID, 0, len(jobs))
		for id, j := range jobs {
			if s.jobs[id] != j {
				t.Errorf("%s has another job %v than the table", name, id)
			}
			ids = append(ids, id)
		}
		slices.SortFunc(ids, job.ID.Compare)
		fmt.Fprintln(&b, name, ids)
	}
	part("idle", s.idle)
	part("claimed", s.claimed)
	part("ended", s.ended)
	for _, user := range []job.UserID{"ann", "bob", "eve"} {
		part("live "+string(user), s.live[user])
	}
	ids := make([]job.ID, 0, len(s.jobs))
	for id := range s.jobs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, job.ID.Compare)
	for _, id := range ids {
		j := *s.jobs[id]
		j.Ad = j.Ad.Flat()
		text, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, id, string(text))
	}
	return b.String()
}

// life commits a random event that may or may not fit, as confused callers would.
func life(t testing.TB, q *Queue, r *rand.Rand) {
	t.Helper()
	ids := make([]job.ID, 0, len(q.state.jobs))
	for id := range q.state.jobs {
		ids = append(ids, id)
	}
	if len(ids) == 0 || r.IntN(8) == 0 {
		users := []string{"ann", "bob", "eve"}
		request := fmt.Sprint("r", r.IntN(20))
		if _, err := q.Submit(t.Context(), cluster(t, users[r.IntN(3)], request, 1+r.IntN(3))); err != nil {
			t.Fatal(err)
		}
		return
	}
	slices.SortFunc(ids, job.ID.Compare)
	id := ids[r.IntN(len(ids))]
	j := q.state.jobs[id]
	e := j.Epoch
	events := []job.Body{
		&job.Offered{Job: id, Claim: "c", Epoch: e + 1, Agent: "a", Slot: "slot1@m", Machine: "m"},
		&job.Declined{Job: id, Epoch: e, Reason: "no"},
		&job.Started{Job: id, Epoch: e},
		&job.Started{Job: id, Epoch: e},
		&job.Paused{Job: id, Epoch: e, Reason: "the owner is back"},
		&job.Continued{Job: id, Epoch: e},
		&job.Checkpointed{Job: id, Epoch: e, Image: job.Image{Kind: job.CRIUImage, Digest: "d", At: j.Entered}},
		&job.Lapsed{Job: id, Epoch: e},
		&job.Revived{Job: id, Epoch: e},
		&job.Evicted{Job: id, Epoch: e, Reason: "the owner stayed"},
		&job.Ended{Job: id, Epoch: e, Result: job.Result{ExitCode: 3}},
		&job.HeldBack{Job: id, Reason: "missing", Code: 13},
		&job.Released{Job: id},
		&job.Withdrawn{Job: id, Reason: "rm"},
		&job.Delivered{Job: id},
	}
	n := 1 + r.IntN(2)
	var bodies []job.Body
	for range n {
		bodies = append(bodies, events[r.IntN(len(events))])
	}
	if err := q.Commit(t.Context(), bodies...); err != nil && !errors.Is(err, ErrMisfit) {
		t.Fatal(err)
	}
}

// TestReplayIsTheState runs random lives, notes the state after every event, and replays every prefix of
// the log.
func TestReplayIsTheState(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 7))
		log := bus.NewMemoryLog()
		q, stop := start(t, Config{Log: log, MaxHistory: 3})
		states := map[uint64]string{}
		for range 150 {
			states[q.state.seq] = dump(t, q.state)
			life(t, q, r)
		}
		states[q.state.seq] = dump(t, q.state)
		stop()

		replayed := newState(3)
		err := log.Read(t.Context(), 1, func(seq uint64, data []byte) error {
			var ev job.Event
			if err := ev.UnmarshalJSON(data); err != nil {
				return err
			}
			ev.Seq = seq
			if err := replayed.apply(ev); err != nil {
				return err
			}
			if want, ok := states[seq]; ok {
				if got := dump(t, replayed); got != want {
					return fmt.Errorf("after event %d replay gives\n%swant\n%s", seq, got, want)
				}
				delete(states, seq)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(states) > 0 {
			t.Errorf("seed %d: %d states were never reached", seed, len(states))
		}
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

func TestReplayStopsAtDamage(t *testing.T) {
	good := func() []string {
		log := bus.NewMemoryLog()
		q, stop := start(t, Config{Log: log})
		id := job.ID{Cluster: submit(t, q, "ann", 1)}
		commit(t, q, &job.Offered{Job: id, Claim: "c1", Epoch: 1, Agent: "a", Machine: "m"})
		commit(t, q, &job.Started{Job: id, Epoch: 1})
		stop()
		var records []string
		log.Read(t.Context(), 1, func(_ uint64, data []byte) error {
			records = append(records, string(data))
			return nil
		})
		return records
	}()
	for _, tt := range []struct {
		name   string
		damage func(r []string) []string
		want   string
	}{
		{"a lost event", func(r []string) []string { return slices.Delete(r, 2, 3) }, "event 3: job 1.0, Idle in epoch 0: event started does not fit"},
		{"a lost submit", func(r []string) []string { return slices.Delete(r, 1, 2) }, "event 2: event offered for job 1.0, which is not there"},
		{"an event twice", func(r []string) []string { return slices.Insert(r, 2, r[1]) }, "event 3: cluster 1 comes after cluster 1"},
		{"an unknown kind", func(r []string) []string {
			r[3] = strings.Replace(r[3], `"started"`, `"teleported"`, 1)
			return r
		}, `event 4: event of unknown kind "teleported"`},
		{"a newer version", func(r []string) []string {
			r[1] = strings.Replace(r[1], `"v":1`, `"v":99`, 1)
			return r
		}, "event 2: event of version 99"},
		{"no JSON", func(r []string) []string {
			r[0] = "\x00"
			return r
		}, "event 1: decode event"},
		{"a cut event", func(r []string) []string {
			r[3] = r[3][:len(r[3])/2]
			return r
		}, "event 4: decode event"},
		{"ads that are not there", func(r []string) []string {
			r[1] = `{"v":1,"at":"2026-01-01T00:00:00Z","kind":"submitted","body":{"cluster":1,"procs":[null]}}`
			return r
		}, "event 2: cluster 1: it has no procs"},
		{"a body that is not there", func(r []string) []string {
			r[2] = `{"v":1,"at":"2026-01-01T00:00:00Z","kind":"offered"}`
			return r
		}, "event 3:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := bus.NewMemoryLog()
			for i, r := range tt.damage(slices.Clone(good)) {
				if _, err := log.Append(t.Context(), uint64(i), [][]byte{[]byte(r)}); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := log.Last(t.Context())
			_, err := Open(t.Context(), Config{Log: log})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want something with %q", err, tt.want)
			}
			if after, _ := log.Last(t.Context()); after != before {
				t.Error("the damaged log was written to")
			}
		})
	}
}

func TestReplayStopsAtAGap(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	submit(t, q, "ann", 1)
	stop()
	if err := log.Purge(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Log: log}); !errors.Is(err, bus.ErrGap) {
		t.Errorf("a log that begins in the middle gave %v", err)
	}
	if _, err := Open(t.Context(), Config{Log: skipping{log}}); err == nil || !strings.Contains(err.Error(), "event 3 comes where 2 is due") {
		t.Errorf("a gap in the middle gave %v", err)
	}
}

// skipping is a log that loses its second record when read.
type skipping struct{ *bus.MemoryLog }

func (skipping) Read(_ context.Context, _ uint64, f func(uint64, []byte) error) error {
	leader := []byte(`{"v":1,"at":"2026-01-01T00:00:00Z","kind":"leader","body":{"leader":"x"}}`)
	return errors.Join(f(1, leader), f(3, leader))
}

func TestSubmitIsIdempotent(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	first, err := q.Submit(t.Context(), cluster(t, "ann", "r1", 2))
	if err != nil {
		t.Fatal(err)
	}
	same := func(q *Queue) {
		t.Helper()
		if again, err := q.Submit(t.Context(), cluster(t, "ann", "r1", 2)); err != nil || again != first {
			t.Errorf("the same request gave %+v, %v, want %+v", again, err, first)
		}
	}
	same(q)
	if other, _ := q.Submit(t.Context(), cluster(t, "bob", "r1", 2)); other == first {
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
		_, err := q.Submit(t.Context(), cluster(t, user, "", n))
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
			s := cluster(t, "ann", fmt.Sprint("r", i), 1)
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
			if _, err := old.Submit(t.Context(), cluster(t, "ann", "", 1)); !errors.Is(err, ErrStale) {
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

func TestRefusedAppendIsReported(t *testing.T) {
	log := &fullLog{MemoryLog: bus.NewMemoryLog()}
	q, _ := start(t, Config{Log: log})
	log.full = true
	_, err := q.Submit(t.Context(), cluster(t, "ann", "", 1))
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

func TestTooLargeEvent(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	s := cluster(t, "ann", "", 1)
	s.Ad.SetString("Note", strings.Repeat("x", maxRecord))
	_, err := q.Submit(t.Context(), s)
	if p := (*diag.Problem)(nil); !errors.As(err, &p) {
		t.Errorf("got %v", err)
	}
	if c := submit(t, q, "ann", 1); c != 1 {
		t.Errorf("then cluster %d, want 1", c)
	}
}

func TestEvents(t *testing.T) {
	log := bus.NewMemoryLog()
	q, _ := start(t, Config{Log: log})
	for range 3 {
		submit(t, q, "ann", 1)
		submit(t, q, "bob", 1)
	}
	read := func(q *Queue, limit int) string {
		t.Helper()
		var seqs []uint64
		for after := uint64(0); ; {
			p, err := q.Events(t.Context(), "ann", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Events) > limit || p.Next < after {
				t.Fatalf("after %d: %d events, next %d", after, len(p.Events), p.Next)
			}
			for _, ev := range p.Events {
				seqs = append(seqs, ev.Seq)
			}
			after = p.Next
			if !p.More {
				return fmt.Sprint(seqs)
			}
		}
	}
	const want = "[2 4 6]"
	for _, limit := range []int{1, 2, 100} {
		if got := read(q, limit); got != want {
			t.Errorf("from memory, %d at a time: %s, want %s", limit, got, want)
		}
	}
	q.recent = recent{}
	submit(t, q, "bob", 1)
	for _, limit := range []int{1, 2, 100} {
		if got := read(q, limit); got != want {
			t.Errorf("from the log, %d at a time: %s, want %s", limit, got, want)
		}
	}
}

func TestLastTellsOfMore(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	seq, more := q.Last()
	select {
	case <-more:
		t.Fatal("there is more before anything happened")
	default:
	}
	submit(t, q, "ann", 1)
	<-more
	if now, _ := q.Last(); now != seq+1 {
		t.Errorf("the last event is %d, want %d", now, seq+1)
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
