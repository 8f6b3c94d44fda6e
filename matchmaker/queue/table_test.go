package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/policy/classad"
)

// shelf has tables by their digests.
type shelf map[blob.Digest][]byte

var errNoBlob = errors.New("not found")

func (s shelf) Read(d blob.Digest, _ int64) ([]byte, error) {
	if data, ok := s[d]; ok {
		return bytes.Clone(data), nil
	}
	return nil, errNoBlob
}

// put takes a cluster's table out of the event.
func (s shelf) put(b *job.Submitted) *job.Submitted {
	d := blob.Sum(b.Table.Inline)
	s[d] = b.Table.Inline
	b.Table.Inline, b.Table.Digest = nil, d
	return b
}

// sweep describes n jobs as a description does that uses $(Process) in its arguments and its output.
func sweep(t testing.TB, user string, n int) *job.Submitted {
	t.Helper()
	s := described(t, user, "", 0)
	for i := range n {
		ad := classad.NewAd()
		ad.SetString("Args", fmt.Sprint(i))
		ad.SetString("Out", fmt.Sprintf("out.%d", i))
		s.Procs = append(s.Procs, ad)
	}
	return withTable(t, s)
}

func TestTablesOfTheFileService(t *testing.T) {
	log, tables := bus.NewMemoryLog(), shelf{}
	q, stop := start(t, Config{Log: log, Tables: tables})
	s := tables.put(sweep(t, "ann", 2000))
	digest := s.Table.Digest
	input := job.File{Name: "in", Digest: blob.Sum([]byte("input"))}
	other := described(t, "ann", "", 3)
	other.Inputs = [][]job.File{{input}}
	for _, s := range []*job.Submitted{s, other} {
		if _, err := q.Submit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	id := job.ID{Cluster: 1, Proc: 1999}
	commit(t, q, &job.Offered{Job: id, Epoch: 1}, &job.Started{Job: id, Epoch: 1})
	for proc := range 3 {
		if needs := q.Needs(); !needs[Need{Digest: digest}] || !needs[Need{input.Digest, "ann"}] {
			t.Errorf("the queue needs %v", needs)
		}
		commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 2, Proc: proc}})
	}
	if needs := q.Needs(); !needs[Need{Digest: digest}] || needs[Need{input.Digest, "ann"}] {
		t.Errorf("when a cluster has ended the queue needs %v", needs)
	}
	want := dump(t, q.state)
	stop()

	q, stop = start(t, Config{Log: log, Tables: tables})
	q.state.seq--
	if got := dump(t, q.state); got != want {
		got, want := firstDifference(got, want)
		t.Errorf("after a restart\n%s\nwant\n%s", got, want)
	}
	q.state.seq++
	stop()

	for name, cfg := range map[string]Config{
		"a table that is gone":    {Log: log, Tables: shelf{}},
		"no file service":         {Log: log},
		"a table that is damaged": {Log: log, Tables: shelf{digest: []byte("skua table 1\n")}},
		"another table":           {Log: log, Tables: shelf{digest: sweep(t, "ann", 3).Table.Inline}},
	} {
		_, err := Open(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), "event 2: cluster 1: ") {
			t.Errorf("%s: the queue opens with %v", name, err)
		}
	}
}

// later is a shelf whose tables cannot be had for a while.
type later struct {
	shelf
	away atomic.Bool
}

func (l *later) Read(d blob.Digest, limit int64) ([]byte, error) {
	if l.away.Load() {
		return nil, fmt.Errorf("no answer: %w", ErrTableAway)
	}
	return l.shelf.Read(d, limit)
}

// A standby waits for a table that cannot be had now, and takes in the log as if nothing had been.
func TestTableThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, tables := bus.NewMemoryLog(), shelf{}
		leader, _ := start(t, Config{Log: log, Tables: tables})
		l := &later{shelf: tables}
		l.away.Store(true)
		standby, err := Watch(t.Context(), Config{Log: log, Tables: l})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		followed := make(chan error, 1)
		go func() { followed <- standby.Follow(ctx) }()
		if _, err := leader.Submit(t.Context(), tables.put(sweep(t, "ann", 2000))); err != nil {
			t.Fatal(err)
		}
		submit(t, leader, "bob", 1)
		time.Sleep(3 * followAgain)
		if seq, _ := standby.Last(); seq != 1 {
			t.Errorf("without the table it comes to event %d, want 1", seq)
		}
		if _, err := Watch(t.Context(), Config{Log: log, Tables: l}); !errors.Is(err, ErrTableAway) || errors.Is(err, ErrDamaged) {
			t.Errorf("another one finds %v, want %v", err, ErrTableAway)
		}
		l.away.Store(false)
		time.Sleep(followAgain)
		synctest.Wait()
		if got, want := dump(t, standby.state), dump(t, leader.state); got != want {
			got, want = firstDifference(got, want)
			t.Errorf("in the end it has\n%s\nwant\n%s", got, want)
		}
		stop()
		if err := <-followed; !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v", err)
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	for _, procs := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("procs=%d", procs), func(b *testing.B) {
			log, tables := bus.NewMemoryLog(), shelf{}
			cfg := Config{Log: log, Tables: tables, MaxPerUser: 2 * procs, MaxJobs: 2 * procs}
			q, err := Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			go q.Run(b.Context())
			if _, err := q.Submit(b.Context(), tables.put(sweep(b, "ann", procs))); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := Open(b.Context(), cfg); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(bytesOf(b, cfg)/float64(procs), "bytes/proc")
		})
	}
}

// bytesOf is what an open queue takes in memory.
func bytesOf(b *testing.B, cfg Config) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	q, err := Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	for range q.Waiting([]string{"JobPrio"}) { // which fills what is kept for speed
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(q)
	return float64(after.HeapAlloc) - float64(before.HeapAlloc)
}

func BenchmarkWaiting(b *testing.B) {
	const procs = 100_000
	for _, tt := range []struct {
		name   string
		happen func(job.ID) []job.Body
	}{
		{"fresh", nil},
		{"held and released", func(id job.ID) []job.Body { return []job.Body{&job.HeldBack{Job: id}, &job.Released{Job: id}} }},
	} {
		b.Run(fmt.Sprintf("procs=%d/%s", procs, tt.name), func(b *testing.B) {
			q, err := Open(b.Context(), Config{Log: bus.NewMemoryLog()})
			if err != nil {
				b.Fatal(err)
			}
			go q.Run(b.Context())
			if _, err := q.Submit(b.Context(), sweep(b, "ann", procs)); err != nil {
				b.Fatal(err)
			}
			for proc := 0; proc < procs && tt.happen != nil; proc++ {
				if err := q.Commit(b.Context(), tt.happen(job.ID{Cluster: 1, Proc: proc})...); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if n := len(q.Waiting([]string{"JobPrio"})); n != 1 {
					b.Fatal(n)
				}
			}
		})
	}
}
