//go:build linux

package server_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/broker"
	"skua/matchmaker/queue"
	"skua/matchmaker/server"
	"skua/policy/classad"
)

// The benchmarks of this file measure a whole matchmaker: over TLS and websocket on loopback, with its log on the
// disk that holds the temporary directory, each event flushed before it is acknowledged. They print the figures
// that docs/benchmarks.md names, the best of the rounds that a benchmark makes.

// figure prints one for machines.
func figure(name string, value float64) { fmt.Printf("bench: %s=%.4g\n", name, value) }

// best keeps the least of the durations it is given.
type best struct{ d time.Duration }

func (b *best) add(d time.Duration) {
	if b.d == 0 || d < b.d {
		b.d = d
	}
}

// benchUsers starts a matchmaker and gives connections of users of it.
func benchUsers(b *testing.B, n int) (*server.Head, []*member) {
	b.Helper()
	s := settings(b)
	s.Limits.Jobs, s.Limits.JobsPerUser = 1e9, 1e9
	h, _ := startHead(b, s)
	var all []*member
	for range n {
		text, err := h.Token(trust.TokenSpec{Kind: trust.User, Name: "ann", Approve: true, TTL: time.Hour}, "")
		if err != nil {
			b.Fatal(err)
		}
		token, err := trust.ParseToken(text)
		if err != nil {
			b.Fatal(err)
		}
		m, err := membership.Join(b.Context(), b.TempDir(), token, "")
		all = append(all, connect(b, m, err))
	}
	return h, all
}

func benchAd() *classad.Ad {
	ad := classad.NewAd()
	ad.SetString("Cmd", "/bin/echo")
	ad.SetBool("Requirements", false) // nobody runs it
	ad.SetInt("RequestMemory", 128)
	ad.SetString("Iwd", "/home/ann/sweep")
	return ad
}

// submitOne is one submit of one job.
func (m *member) submitOne(ctx context.Context) error {
	data, err := wire.Encode(wire.Submit{V: wire.Version, Request: rand.Text(), Ad: benchAd(), Procs: []*classad.Ad{classad.NewAd()}})
	if err != nil {
		return err
	}
	if data, err = m.conn.Request(ctx, wire.UserSubject(job.UserID(m.ID), wire.VerbSubmit), data); err != nil {
		return err
	}
	answer, err := wire.Decode[wire.Submitted](data)
	if err == nil && answer.Fail != nil {
		err = fmt.Errorf("submit: %s", answer.Fail.What)
	}
	return err
}

// BenchmarkSubmits has so many submitters at work at the same time, each with one job at a time. They share sixteen
// connections.
func BenchmarkSubmits(b *testing.B) {
	for _, submitters := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("submitters=%d", submitters), func(b *testing.B) {
			_, users := benchUsers(b, min(submitters, 16))
			each := max(5, 100/submitters)
			var least best
			for b.Loop() {
				start := time.Now()
				var all sync.WaitGroup
				for n := range submitters {
					all.Go(func() {
						for range each {
							if err := users[n%len(users)].submitOne(b.Context()); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				least.add(time.Since(start))
			}
			rate := float64(submitters*each) / least.d.Seconds()
			b.ReportMetric(rate, "submits/s")
			figure(fmt.Sprintf("submits_per_s_%d", submitters), rate)
			if submitters == 1 {
				figure("submit_one_ms", 1000/rate)
			}
		})
	}
}

const manyProcs = 100_000

// manyJobs is the table of a sweep.
func manyJobs(b *testing.B, round int) []byte {
	b.Helper()
	ads := make([]*classad.Ad, manyProcs)
	for i := range ads {
		ads[i] = classad.NewAd()
		ads[i].SetString("Args", fmt.Sprint(i))
		ads[i].SetString("Out", fmt.Sprintf("out.%d.%d", round, i))
	}
	table, err := job.EncodeTable(benchAd(), ads, nil)
	if err != nil {
		b.Fatal(err)
	}
	return table
}

// BenchmarkSubmitMany submits a hundred thousand jobs that differ in two attributes: their table is uploaded, and
// the submit acknowledged. Then each job is made, as if something had happened to all of them.
func BenchmarkSubmitMany(b *testing.B) {
	h, users := benchUsers(b, 1)
	ann := users[0]
	var acknowledged, made best
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		table := manyJobs(b, round) // another one each time, since what has been uploaded once is there
		b.StartTimer()
		start := time.Now()
		upload := ann.query(wire.Query{Kind: wire.QueryUpload}).Capability
		file := ann.mustPut(upload, string(table))
		submitted := ask[wire.Submitted](ann, wire.UserSubject(job.UserID(ann.ID), wire.VerbSubmit), wire.Submit{
			V: wire.Version, Request: rand.Text(), Ad: benchAd(),
			Table: &job.TableRef{Digest: file.Digest, Size: file.Size, Count: manyProcs},
		})
		if submitted.Fail != nil {
			b.Fatal(submitted.Fail.What)
		}
		acknowledged.add(time.Since(start))
		jobs := make([]*job.Job, 0, manyProcs)
		h.Queue().Walk(queue.Filter{Live: true, Clusters: []int{submitted.Cluster}}, func(j *job.Job) bool {
			jobs = append(jobs, j)
			return true
		})
		if len(jobs) != manyProcs {
			b.Fatalf("%d jobs", len(jobs))
		}
		made.add(time.Since(start))
	}
	figure("submit_100k_s", acknowledged.d.Seconds())
	figure("submit_100k_materialized_s", made.d.Seconds())
}

// filled makes the data directory of a matchmaker with so many idle jobs, in clusters of a thousand, to each of which
// so many things have happened.
func filled(b *testing.B, jobs, happened int) server.Settings {
	b.Helper()
	s := settings(b)
	blobs, err := blob.OpenStore(blob.StoreConfig{Dir: filepath.Join(s.Data, "blobs")})
	if err != nil {
		b.Fatal(err)
	}
	br, err := broker.Start(b.Context(), broker.Config{Dir: filepath.Join(s.Data, "broker"), Roster: nobody{}})
	if err != nil {
		b.Fatal(err)
	}
	defer br.Close()
	log, err := bus.OpenLog(b.Context(), br.Conn(), bus.LogConfig{Stream: "SKUA_EV", Subject: "skua.ev"})
	if err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(s.Data, "queue")
	archive, err := queue.OpenArchive(queue.ArchiveConfig{Dir: filepath.Join(dir, "archive")})
	if err != nil {
		b.Fatal(err)
	}
	defer archive.Close()
	q, err := queue.Open(b.Context(), queue.Config{Log: log, Archive: archive, Mend: true, Snapshots: filepath.Join(dir, "snapshots"), Tables: blobs, MaxPerUser: 2 * jobs})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	defer func() { stop(); <-done }()
	const each = 1000
	for range jobs / each {
		cluster := &job.Submitted{User: "u1", Owner: "ann", Request: rand.Text(), Ad: benchAd()}
		for n := range each {
			ad := classad.NewAd()
			ad.SetString("Args", fmt.Sprint(n))
			cluster.Procs = append(cluster.Procs, ad)
		}
		if _, err := q.Submit(ctx, cluster); err != nil {
			b.Fatal(err)
		}
	}
	for n := range happened {
		for c := range jobs / each {
			bodies := make([]job.Body, each)
			for p := range each {
				bodies[p] = &job.Edited{Job: job.ID{Cluster: c + 1, Proc: p}, Set: []job.Assigned{{Name: "JobPrio", Expr: fmt.Sprint(n)}}}
			}
			if err := q.Commit(ctx, bodies...); err != nil {
				b.Fatal(err)
			}
		}
	}
	return s
}

type nobody struct{}

func (nobody) Lookup(string) (trust.Member, bool) { return trust.Member{}, false }

// BenchmarkRestart starts a matchmaker on the log of an earlier one, until it serves.
func BenchmarkRestart(b *testing.B) {
	for _, tt := range []struct {
		name           string
		jobs, happened int
		replay         bool // without snapshots
		figure         string
	}{
		{"jobs=100000", 100_000, 0, false, "restart_100k_jobs_s"},
		{"jobs=100000/edited=all", 100_000, 1, false, "restart_100k_edited_jobs_s"},
		{"jobs=100000/events=1000000", 100_000, 10, false, "restart_1M_events_s"},
		{"jobs=100000/events=1000000/snapshots=none", 100_000, 10, true, "restart_1M_events_without_snapshots_s"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s := filled(b, tt.jobs, tt.happened)
			if tt.replay {
				if err := os.RemoveAll(filepath.Join(s.Data, "queue", "snapshots")); err != nil {
					b.Fatal(err)
				}
			}
			var least best
			for b.Loop() {
				start := time.Now()
				h, stop := startHead(b, s)
				least.add(time.Since(start))
				b.StopTimer()
				if n := len(h.Queue().Jobs("")); n != tt.jobs {
					b.Fatalf("%d jobs", n)
				}
				stop()
				if tt.replay {
					if err := os.RemoveAll(filepath.Join(s.Data, "queue", "snapshots")); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
			figure(tt.figure, least.d.Seconds())
		})
	}
}

// BenchmarkMemory is what idle jobs take in the memory of a matchmaker.
func BenchmarkMemory(b *testing.B) {
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for _, tt := range []struct {
		name   string
		submit func(b *testing.B, q *queue.Queue)
		figure string
	}{
		{"table", func(b *testing.B, q *queue.Queue) {
			s := &job.Submitted{User: "u1", Owner: "ann", Ad: benchAd(), Table: &job.TableRef{Inline: manyJobs(b, 0), Count: manyProcs}}
			if _, err := q.Submit(b.Context(), s); err != nil {
				b.Fatal(err)
			}
		}, "bytes_per_idle_job"},
		{"submitted one by one", func(b *testing.B, q *queue.Queue) {
			var all sync.WaitGroup
			for n := range 100 {
				all.Go(func() {
					for i := range manyProcs / 100 {
						ad := classad.NewAd()
						ad.SetString("Args", fmt.Sprint(n, i))
						s := &job.Submitted{User: "u1", Owner: "ann", Request: rand.Text(), Ad: benchAd(), Procs: []*classad.Ad{ad}}
						if _, err := q.Submit(b.Context(), s); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
		}, "bytes_per_idle_job_one_by_one"},
		{"all edited", func(b *testing.B, q *queue.Queue) {
			s := &job.Submitted{User: "u1", Owner: "ann", Ad: benchAd(), Table: &job.TableRef{Inline: manyJobs(b, 0), Count: manyProcs}}
			r, err := q.Submit(b.Context(), s)
			if err != nil {
				b.Fatal(err)
			}
			for from := 0; from < manyProcs; from += 1000 {
				bodies := make([]job.Body, 1000)
				for i := range bodies {
					bodies[i] = &job.Edited{Job: job.ID{Cluster: r.Cluster, Proc: from + i}, Set: []job.Assigned{{Name: "JobPrio", Expr: "7"}}}
				}
				if err := q.Commit(b.Context(), bodies...); err != nil {
					b.Fatal(err)
				}
			}
		}, "bytes_per_idle_job_edited"},
	} {
		b.Run(strings.ReplaceAll(tt.name, " ", "_"), func(b *testing.B) {
			var each float64
			for b.Loop() {
				log := bus.NewMemoryLog()
				q, err := queue.Open(b.Context(), queue.Config{Log: log})
				if err != nil {
					b.Fatal(err)
				}
				ctx, stop := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() { done <- q.Run(ctx) }()
				tt.submit(b, q)
				stop()
				<-done
				q = nil
				before := heap()
				if q, err = queue.Watch(b.Context(), queue.Config{Log: log}); err != nil {
					b.Fatal(err)
				}
				each = (heap() - before) / manyProcs
				runtime.KeepAlive(q)
			}
			b.ReportMetric(each, "bytes/job")
			figure(tt.figure, each)
		})
	}
}
