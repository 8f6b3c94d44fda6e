package server

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// benchServer is a matchmaker whose queue has so many jobs of one user, in clusters of a thousand.
func benchServer(b *testing.B, jobs int, attrs string) *Server {
	b.Helper()
	q, err := queue.Open(b.Context(), queue.Config{Log: bus.NewMemoryLog(), MaxPerUser: 2 * jobs})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	b.Cleanup(func() { stop(); <-done })
	s, err := New(Config{
		Bus: bus.NewMemory().Connect("matchmaker"), Queue: q, Roster: fakeRoster{new(sync.Map)},
		Clock:    func() job.Instant { return 0 },
		Sign:     func(trust.Capability) (string, error) { return "", nil },
		ImageKey: func(job.ID) blob.Key { return blob.Key{} },
	})
	if err != nil {
		b.Fatal(err)
	}
	const each = 1000
	for i := range jobs / each {
		ad, err := classad.ParseAd(`[ Cmd = "/bin/sim"; Requirements = TARGET.Memory >= 100; PeriodicHold = false; PeriodicRelease = false; ` + attrs + ` ]`)
		if err != nil {
			b.Fatal(err)
		}
		cluster := &job.Submitted{User: "u1", Owner: "ann", Request: fmt.Sprint(i), Ad: ad}
		for range each {
			cluster.Procs = append(cluster.Procs, classad.NewAd())
		}
		if _, err := q.Submit(b.Context(), cluster); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkPolice is what a minute of policies costs, and what it costs to find out who has one.
func BenchmarkPolice(b *testing.B) {
	const jobs = 100_000
	b.Run(fmt.Sprintf("start/jobs=%d/policy=none", jobs), func(b *testing.B) {
		s := benchServer(b, jobs, "PeriodicRemove = false; ")
		for b.Loop() {
			p := newPolice(s)
			p.begin(b.Context())
			if len(p.watched) > 0 {
				b.Fatalf("%d jobs are watched", len(p.watched))
			}
		}
	})
	b.Run(fmt.Sprintf("minute/jobs=%d/policy=all", jobs), func(b *testing.B) {
		s := benchServer(b, jobs, "PeriodicRemove = JobStatus == 5 && time() - EnteredCurrentStatus > 86400; ")
		p := newPolice(s)
		p.begin(b.Context())
		for b.Loop() {
			p.look(b.Context(), maps.Keys(p.watched))
		}
		if len(p.watched) != jobs {
			b.Fatalf("%d jobs are watched", len(p.watched))
		}
	})
}

// BenchmarkSnapshot is what the picture costs that each cycle begins with.
func BenchmarkSnapshot(b *testing.B) {
	const jobs = 100_000
	b.Run(fmt.Sprintf("jobs=%d/edited=all", jobs), func(b *testing.B) {
		s := benchServer(b, jobs, "")
		var edits []job.Body
		for _, j := range s.cfg.Queue.Jobs("") {
			edits = append(edits, &job.Edited{Job: j.ID, Set: []job.Assigned{{Name: "JobPrio", Expr: "7"}}})
		}
		for _, err := range s.cfg.Queue.CommitEach(b.Context(), edits) {
			if err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			if snapshot := s.snapshot(); len(snapshot.Jobs) != jobs/1000 {
				b.Fatalf("%d batches", len(snapshot.Jobs))
			}
		}
	})
	b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
		s := benchServer(b, jobs, "")
		for b.Loop() {
			snapshot := s.snapshot()
			if len(snapshot.Jobs) == 0 || time.Since(snapshot.Now) > time.Hour {
				b.Fatal("nobody waits")
			}
		}
	})
}
