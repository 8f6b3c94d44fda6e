package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"skua/internal/bus"
	"skua/internal/job"
)

func TestWalk(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	submit(t, q, "ann", 3)
	submit(t, q, "bob", 2)
	s := withTable(t, described(t, "ann", "", 2500))
	if _, err := q.Submit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 1, Proc: 1}})
	commit(t, q, &job.HeldBack{Job: job.ID{Cluster: 3, Proc: 1200}})
	commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 3, Proc: 2499}})
	id := func(cluster, proc int) job.ID { return job.ID{Cluster: cluster, Proc: proc} }
	for _, tt := range []struct {
		name   string
		filter Filter
		want   string // the first and the last, and how many
	}{
		{"all", Filter{Live: true, Ended: true}, "1.0 3.2499 2505"},
		{"ann's", Filter{User: "ann", Live: true}, "1.0 3.2498 2501"},
		{"ann's that ended", Filter{User: "ann", Ended: true}, "1.1 3.2499 2"},
		{"nobody's", Filter{User: "eve", Live: true}, "0"},
		{"a cluster", Filter{Live: true, Clusters: []int{2}}, "2.0 2.1 2"},
		{"somebody else's cluster", Filter{User: "ann", Live: true, Clusters: []int{2}}, "0"},
		{"jobs", Filter{Live: true, Jobs: []job.ID{id(3, 7), id(1, 0), id(1, 1), id(8, 8), id(3, 7)}}, "1.0 3.7 2"},
		{"jobs that ended", Filter{Ended: true, Jobs: []job.ID{id(1, 0), id(1, 1)}}, "1.1 1.1 1"},
		{"jobs and a cluster", Filter{Live: true, Clusters: []int{1}, Jobs: []job.ID{id(3, 2000)}}, "1.0 3.2000 3"},
		{"after a job", Filter{Live: true, After: id(3, 1199)}, "3.1200 3.2498 1299"},
		{"after a job of another cluster", Filter{Live: true, After: id(2, 0), User: "bob"}, "2.1 2.1 1"},
		{"jobs after a job", Filter{Live: true, After: id(1, 0), Jobs: []job.ID{id(1, 0), id(1, 2)}}, "1.2 1.2 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ids []job.ID
			q.Walk(tt.filter, func(j *job.Job) bool {
				ids = append(ids, j.ID)
				return true
			})
			got := fmt.Sprint(len(ids))
			if len(ids) > 0 {
				got = fmt.Sprint(ids[0], ids[len(ids)-1], len(ids))
			}
			if got != tt.want || !slices.IsSortedFunc(ids, job.ID.Compare) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			fleeting := tt.filter
			fleeting.Fleeting = true
			n := 0
			q.Walk(fleeting, func(j *job.Job) bool {
				same, ok := q.Job(j.ID)
				if !ok || j.ID != ids[n] || j.CurrentAd().Flat().String() != same.CurrentAd().Flat().String() {
					t.Errorf("fleeting, job %d is %v:\n%s\nwant\n%s", n, j.ID, j.CurrentAd().Flat(), same.CurrentAd().Flat())
				}
				n++
				return true
			})
			if n != len(ids) {
				t.Errorf("%d jobs are fleeting, want %d", n, len(ids))
			}
			n = 0
			q.Walk(tt.filter, func(*job.Job) bool { n++; return n < 2 })
			if n != min(len(ids), 2) {
				t.Errorf("%d jobs were shown to one who had enough of two", n)
			}
		})
	}
}

// TestWaiting: whatever has happened, the batches have the idle jobs, each once, and what a batch says of its jobs is
// true.
func TestWaiting(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	plain := withTable(t, described(t, "ann", "", 200))
	odd := described(t, "ann", "", 200)
	for i, ad := range odd.Procs {
		ad.SetInt("JobPrio", int64(i%3))
		if i%10 == 0 {
			ad.SetInt("JobStatus", int64(job.Held))
		}
	}
	byID := described(t, "bob", "", 4)
	byID.Ad.Set("JobPrio", parse(t, "ProcId % 2"))
	for _, s := range []*job.Submitted{plain, withTable(t, odd), byID} {
		if _, err := q.Submit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, q, &job.HeldBack{Job: job.ID{Cluster: 1, Proc: 64}}, &job.Released{Job: job.ID{Cluster: 1, Proc: 64}})
	for _, proc := range []int{10, 65, 66} {
		commit(t, q, &job.HeldBack{Job: job.ID{Cluster: 1, Proc: proc}, Reason: fmt.Sprint(proc)}, &job.Released{Job: job.ID{Cluster: 1, Proc: proc}})
	}
	commit(t, q, &job.Released{Job: job.ID{Cluster: 2, Proc: 10}})
	commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 1, Proc: 100}}, &job.Offered{Job: job.ID{Cluster: 1}, Epoch: 1})
	batches := q.Waiting([]string{"JobPrio", "NiceUser"})
	commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 1, Proc: 7}}) // what was given stays as it was
	var got []job.ID
	for _, b := range batches {
		prio := b.First.CurrentAd().Eval("JobPrio", nil).String()
		for _, r := range b.Procs {
			for proc := r.From; proc < r.Upto; proc++ {
				j := b.Job(proc)
				got = append(got, j.ID)
				if j.ID != (job.ID{Cluster: b.Cluster, Proc: proc}) || !offerable(j) {
					t.Errorf("proc %d of a batch of cluster %d is %v, %v", proc, b.Cluster, j.ID, j.State)
				}
				if p := j.CurrentAd().Eval("JobPrio", nil).String(); p != prio {
					t.Errorf("job %v has priority %s in a batch of %s", j.ID, p, prio)
				}
				for _, name := range j.Ad.Names() {
					if e, ok := b.First.CurrentAd().Lookup(name); ok && !slices.Contains(b.Varies, name) && e.String() != j.CurrentAd().Eval(name, nil).String() {
						t.Errorf("job %v differs from the first in %s", j.ID, name)
					}
				}
			}
		}
	}
	slices.SortFunc(got, job.ID.Compare)
	var want []job.ID
	for _, j := range q.Idle() {
		want = append(want, j.ID)
	}
	want = append(want, job.ID{Cluster: 1, Proc: 7})
	slices.SortFunc(want, job.ID.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("the batches have %d jobs, want %d:\n%v\n%v", len(got), len(want), got, want)
	}
	if len(batches) != 2+3+1+2 {
		t.Errorf("%d batches, want two of cluster 1, one for each of three priorities, one for a released job, and two", len(batches))
	}
}

func TestCounts(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog(), MaxHistory: 1})
	s := described(t, "ann", "", 200)
	s.Procs[3].SetInt("JobStatus", int64(job.Held))
	for _, s := range []*job.Submitted{s, withTable(t, described(t, "bob", "", 5))} {
		if _, err := q.Submit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	late := lateCluster(t, q, "ann", 10, "JobMaterializeLimit", 1)
	for proc := range 3 {
		commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: 1, Proc: proc}}) // two of which are forgotten
	}
	commit(t, q, &job.Offered{Job: job.ID{Cluster: 1, Proc: 4}, Epoch: 1}, &job.Started{Job: job.ID{Cluster: 1, Proc: 4}, Epoch: 1})
	commit(t, q, &job.HeldBack{Job: job.ID{Cluster: 1, Proc: 199}})
	show := func(user job.UserID, clusters ...int) string {
		var b strings.Builder
		for _, n := range q.Counts(user, clusters) {
			id := func(j *job.Job) string {
				if j == nil {
					return "-"
				}
				return j.ID.String()
			}
			fmt.Fprintln(&b, n.Cluster, n.User, n.Total, n.Late, n.Present, n.States, id(n.First), id(n.Last), id(n.FirstIdle), id(n.FirstHeld))
		}
		return b.String()
	}
	want := "1 ann 200 0 197 [0 194 1 3 0 2 0 0] 1.3 1.199 1.5 1.3\n2 bob 5 0 5 [0 5 0 0 0 0 0 0] 2.0 2.4 2.0 -\n3 ann 10 9 1 [0 1 0 0 0 0 0 0] 3.0 3.0 3.0 -\n"
	if got := show(""); got != want {
		t.Errorf("all:\n%swant\n%s", got, want)
	}
	if got := show("ann", late, 2); got != want[strings.LastIndex(want, "3 ann"):] {
		t.Errorf("ann's of two clusters:\n%s", got)
	}
	commit(t, q, &job.Closed{Cluster: late}, &job.Withdrawn{Job: job.ID{Cluster: late}})
	if got := show("ann", late); got != "" {
		t.Errorf("a cluster without jobs is counted: %s", got)
	}
}
