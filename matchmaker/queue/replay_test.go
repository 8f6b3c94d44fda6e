package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"skua/internal/bus"
	"skua/internal/job"
)

// dump writes down all of a state that two equal ones must share, whether or not its clusters have tables.
func dump(t testing.TB, s *state) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintln(&b, s.seq, s.cluster, s.users, s.held, s.total, s.history, s.requests, s.requestOrder)
	part := func(name string, jobs map[job.ID]*job.Job, in func(*job.Job) bool) {
		for id, j := range jobs {
			if c := s.clusters[id.Cluster]; c == nil || c.jobs[id.Proc] != j || c.fresh.has(id.Proc) {
				t.Errorf("%s has another job %v than its cluster", name, id)
			}
		}
		n := 0
		for _, c := range s.clusters {
			for _, j := range c.jobs {
				if in(j) {
					n++
				}
			}
		}
		if n != len(jobs) {
			t.Errorf("%s has %d jobs, want %d", name, len(jobs), n)
		}
	}
	part("idle", s.idle, func(j *job.Job) bool { return offerable(j) && !waitsUntried(j) })
	part("claimed", s.claimed, func(j *job.Job) bool { return j.Claim != nil })
	part("ended", s.ended, func(j *job.Job) bool { return j.State.Ended() })
	if len(s.inOrder) != len(s.clusters) {
		t.Errorf("%d clusters are in order, of %d", len(s.inOrder), len(s.clusters))
	}
	for _, c := range s.inOrder {
		present, idle := c.present()
		fmt.Fprintln(&b, "cluster", c.Number, c.Len(), c.opened, c.entries, c.closed, s.late[c.Number] == c, c.fresh.ranges(), c.untried.ranges(), c.nfresh, c.states, present, idle)
		c.walk(-1, true, true, func(i item) bool {
			j := c.job(i.proc)
			ad := j.CurrentAd().Flat()
			for _, name := range slices.Sorted(slices.Values(ad.Names())) {
				fmt.Fprint(&b, name, " = ", ad.Eval(name, nil), "; ")
			}
			plain := *j
			plain.Ad = nil
			text, err := json.Marshal(plain)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&b, j.ID, string(text))
			return true
		})
	}
	return b.String()
}

// firstDifference gives the first lines in which two texts differ.
func firstDifference(a, b string) (string, string) {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i], y[i]
		}
	}
	return fmt.Sprint(len(x), " lines"), fmt.Sprint(len(y), " lines")
}

// withTable gives the same cluster with a table.
func withTable(t testing.TB, s *job.Submitted) *job.Submitted {
	t.Helper()
	data, err := job.EncodeTable(s.Ad, s.Procs, s.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	s.Table = &job.TableRef{Inline: data, Size: int64(len(data)), Count: len(s.Procs)}
	s.Procs, s.Inputs = nil, nil
	return s
}

// life commits a random event that may or may not fit, as confused callers would. Clusters have tables or do
// not, as table says, to the same effect.
func life(t testing.TB, q *Queue, r *rand.Rand, table bool) {
	t.Helper()
	var jobs []*job.Job
	q.Walk(Filter{Live: true, Ended: true}, func(j *job.Job) bool {
		jobs = append(jobs, j)
		return true
	})
	if len(jobs) == 0 || r.IntN(8) == 0 {
		users := []string{"ann", "bob", "eve"}
		request := fmt.Sprint("r", r.IntN(20))
		s := described(t, users[r.IntN(3)], request, 1+r.IntN(6))
		if r.IntN(2) == 0 {
			s.Ad.SetInt([]string{"JobMaterializeLimit", "JobMaterializeMaxIdle"}[r.IntN(2)], int64(1+r.IntN(3)))
		}
		if held := s.Procs[r.IntN(len(s.Procs))]; r.IntN(3) == 0 {
			held.SetInt("JobStatus", int64(job.Held))
		}
		if table {
			s = withTable(t, s)
		}
		if _, err := q.Submit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return
	}
	j := jobs[r.IntN(len(jobs))]
	id, e := j.ID, j.Epoch
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
		&job.Edited{Job: id, Set: []job.Assigned{{Name: "Index", Expr: "ProcId * 2"}}},
		&job.Withdrawn{Job: id, Reason: "rm"},
		&job.Delivered{Job: id},
		&job.Closed{Cluster: id.Cluster},
		&job.Opened{Cluster: id.Cluster, From: id.Proc, Upto: id.Proc + 1},
	}
	for _, o := range q.Due() {
		events = append(events, o, o)
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

// TestTablesChangeNothing runs the same random lives with tables and without.
func TestTablesChangeNothing(t *testing.T) {
	for seed := range uint64(10) {
		states := make([][]string, 2)
		for i := range states {
			synctest.Test(t, func(t *testing.T) { // in which the time is the same
				r := rand.New(rand.NewPCG(seed, 9))
				q, stop := start(t, Config{Log: bus.NewMemoryLog(), Leader: "me", MaxHistory: 3})
				for range 150 / stepsPerLook {
					for range stepsPerLook {
						life(t, q, r, i == 1)
					}
					states[i] = append(states[i], dump(t, q.state))
				}
				stop()
			})
		}
		for n := range states[0] {
			if states[0][n] != states[1][n] {
				a, b := firstDifference(states[0][n], states[1][n])
				t.Fatalf("seed %d: after step %d without tables\n%s\nand with tables\n%s", seed, (n+1)*stepsPerLook, a, b)
			}
		}
	}
}

// stepsPerLook is how many steps of a random life are taken between two looks at the whole state, which take most of the
// time. A difference stays.
const stepsPerLook = 5

// TestReplayIsTheState runs random lives, notes the state every few steps, and replays the log up to each of them.
func TestReplayIsTheState(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 7))
		log := bus.NewMemoryLog()
		q, stop := start(t, Config{Log: log, MaxHistory: 3})
		states := map[uint64]string{}
		for range 150 / stepsPerLook {
			states[q.state.seq] = dump(t, q.state)
			for range stepsPerLook {
				life(t, q, r, seed%2 == 0)
			}
		}
		states[q.state.seq] = dump(t, q.state)
		stop()

		replayed := newState(3)
		replayed.tables = q.Table
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
					got, want = firstDifference(got, want)
					return fmt.Errorf("after event %d replay gives\n%s\nwant\n%s", seq, got, want)
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
			plain, _, ok := unseal(data)
			if !ok {
				t.Errorf("%s has no checksum", data)
			}
			records = append(records, string(plain)) // as the first releases wrote it
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
