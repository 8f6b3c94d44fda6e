package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
)

// A standby follows, takes over, and the old leader can write nothing more.
func TestStandbyTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := bus.NewMemoryLog()
		leader, err := Open(t.Context(), Config{Log: log, Leader: "first"})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- leader.Run(t.Context()) }()
		submit(t, leader, "ann", 2)

		standby, err := Watch(t.Context(), Config{Log: log, Leader: "second"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stopFollowing := context.WithCancel(t.Context())
		followed := make(chan error, 1)
		go func() { followed <- standby.Follow(ctx) }()
		seq, more := standby.Last()
		if seq != 2 {
			t.Fatalf("the standby begins after event %d, want 2", seq)
		}
		second := submit(t, leader, "bob", 1)
		<-more
		synctest.Wait()
		if _, ok := standby.Job(job.ID{Cluster: second}); !ok {
			t.Error("the standby does not know what was submitted while it followed")
		}
		if last, _ := log.Last(t.Context()); last != 3 {
			t.Errorf("the log ends at %d, want 3: watching and following write nothing", last)
		}
		stopFollowing()
		if err := <-followed; !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v", err)
		}

		third := submit(t, leader, "bob", 1) // unseen by the standby
		if err := standby.Lead(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := leader.Commit(t.Context(), &job.Withdrawn{Job: job.ID{Cluster: third}}); !errors.Is(err, ErrStale) {
			t.Errorf("the old leader's commit gave %v, want %v", err, ErrStale)
		}
		if err := <-ended; !errors.Is(err, ErrStale) {
			t.Errorf("the old leader ended with %v, want %v", err, ErrStale)
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() { ended <- standby.Run(ctx) }()
		commit(t, standby, &job.Withdrawn{Job: job.ID{Cluster: third}})
		stop()
		<-ended
		if got, want := dump(t, standby.state), dump(t, watch(t, log).state); got != want {
			got, want = firstDifference(got, want)
			t.Errorf("the new leader has\n%s\nwant\n%s", got, want)
		}
	})
}

// Of several that want to lead at once, one does in the end, and the log has each attempt in its place.
func TestManyWantToLead(t *testing.T) {
	log := bus.NewMemoryLog()
	var wg sync.WaitGroup
	for range 8 {
		q := watch(t, log)
		wg.Go(func() {
			if err := q.Lead(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if seq, _ := watch(t, log).Last(); seq != 8 {
		t.Errorf("the log ends at %d, want 8", seq)
	}
}

func TestFollowStopsAtDamage(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(log *bus.MemoryLog) error
		want error
	}{
		{"a record of another log", func(log *bus.MemoryLog) error {
			_, err := log.Append(t.Context(), 1, [][]byte{[]byte(`{"v":1,"at":"2026-01-01T00:00:00Z","kind":"leader","body":{"leader":"x"},"sum":"00000000000000000000000000000000"}`)})
			return err
		}, ErrDamaged},
		{"a log that has forgotten what comes next", func(log *bus.MemoryLog) error {
			if err := log.Purge(t.Context(), 5); err != nil {
				return err
			}
			_, err := log.Append(t.Context(), 4, [][]byte{[]byte(`{}`)})
			return err
		}, bus.ErrGap},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := bus.NewMemoryLog()
			if _, err := Open(t.Context(), Config{Log: log}); err != nil {
				t.Fatal(err)
			}
			q := watch(t, log)
			if err := tt.then(log); err != nil {
				t.Fatal(err)
			}
			if err := q.Follow(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// A standby trims its archive and forgets tables as a leader does, but leaves the log alone, and what is needed to read it.
func TestStandbyForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, tables := bus.NewMemoryLog(), shelf{}
		leader, _ := start(t, Config{Log: log, Tables: tables, MaxHistory: 1})
		archive := openArchive(t, t.TempDir(), 30)
		standby, err := Watch(t.Context(), Config{
			Log: log, Tables: tables, MaxHistory: 1, Archive: archive, Snapshots: t.TempDir(), SnapshotEvery: 3,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		followed := make(chan error, 1)
		go func() { followed <- standby.Follow(ctx) }()
		s := tables.put(sweep(t, "ann", 2))
		need := Need{Digest: s.Table.Digest}
		r, err := leader.Submit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		for proc := range 2 {
			commit(t, leader, &job.Withdrawn{Job: job.ID{Cluster: r.Cluster, Proc: proc}})
		}
		commit(t, leader, &job.Withdrawn{Job: job.ID{Cluster: submit(t, leader, "ann", 1)}}) // the others are forgotten
		goOn := func() {
			for range 3 {
				for range 3 {
					submit(t, leader, "bob", 1)
				}
				time.Sleep(2 * syncEvery)
				synctest.Wait()
			}
		}
		goOn()
		if first, _ := archive.Span(); first == 1 {
			t.Error("the archive keeps everything")
		}
		if first, _ := log.First(t.Context()); first != 1 {
			t.Errorf("the log begins with event %d: who stands by purges nothing", first)
		}
		if !standby.Needs()[need] {
			t.Error("a table is forgotten that is needed to read the log")
		}
		if err := log.Purge(t.Context(), 7); err != nil { // as the leader does
			t.Fatal(err)
		}
		goOn()
		if standby.Needs()[need] {
			t.Error("a table is kept that only forgotten events need")
		}
		stop()
		if err := <-followed; !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v", err)
		}
	})
}

func watch(t *testing.T, log Log) *Queue {
	t.Helper()
	q, err := Watch(t.Context(), Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return q
}
