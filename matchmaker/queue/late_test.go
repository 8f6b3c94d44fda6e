package queue

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"skua/internal/bus"
	"skua/internal/job"
)

// lateCluster submits jobs of which few are to be in the queue at a time.
func lateCluster(t *testing.T, q *Queue, user string, procs int, limit string, n int64) int {
	t.Helper()
	s := described(t, user, "", procs)
	s.Ad.SetInt(limit, n)
	r, err := q.Submit(t.Context(), withTable(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return r.Cluster
}

// enter commits what is due and says what that was.
func enter(t *testing.T, q *Queue) string {
	t.Helper()
	said := ""
	for _, o := range q.Due() {
		said += fmt.Sprintf("%d:%d-%d ", o.Cluster, o.From, o.Upto)
		commit(t, q, o)
	}
	return said
}

func TestLateMaterialization(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	most := lateCluster(t, q, "ann", 10, "JobMaterializeLimit", 4)
	idle := lateCluster(t, q, "ann", 10, "JobMaterializeMaxIdle", 2)
	submit(t, q, "ann", 3)
	if n := len(q.Jobs("ann")); n != 4+2+3 {
		t.Errorf("at first %d jobs are in the queue, want 9", n)
	}
	if due := enter(t, q); due != "" {
		t.Errorf("%s is due though nothing has changed", due)
	}
	run := func(cluster, proc int) {
		id := job.ID{Cluster: cluster, Proc: proc}
		commit(t, q, &job.Offered{Job: id, Epoch: 1}, &job.Started{Job: id, Epoch: 1})
	}
	for _, step := range []struct {
		name string
		do   func()
		due  string
	}{
		{"a job runs where those in the queue are limited", func() { run(most, 0) }, ""},
		{"it ends", func() { commit(t, q, &job.Ended{Job: job.ID{Cluster: most}, Epoch: 1}) }, "1:4-5 "},
		{"two run where idle ones are limited", func() { run(idle, 0); run(idle, 1) }, "2:2-4 "},
		{"one of them is held", func() { commit(t, q, &job.HeldBack{Job: job.ID{Cluster: idle}}) }, ""},
		{"and removed", func() { commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: idle}}) }, ""},
		{"three are removed", func() {
			for proc := 1; proc < 4; proc++ {
				commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: idle, Proc: proc}})
			}
		}, "2:4-6 "},
	} {
		step.do()
		if due := enter(t, q); due != step.due {
			t.Errorf("%s: %q enters, want %q", step.name, due, step.due)
		}
	}
	if got := fmt.Sprint(q.Coming("ann"), q.Coming("bob")); got != "[{1 5 10} {2 6 10}] []" {
		t.Errorf("jobs are to come of %s", got)
	}

	for _, b := range []job.Body{
		&job.Opened{Cluster: idle, From: 5, Upto: 7}, &job.Opened{Cluster: idle, From: 6, Upto: 11}, &job.Opened{Cluster: 3, From: 3, Upto: 4},
		&job.Opened{Cluster: 9, From: 0, Upto: 1}, &job.Closed{Cluster: 3}, &job.Closed{Cluster: 9}, &job.Withdrawn{Job: job.ID{Cluster: idle, Proc: 6}},
	} {
		if err := q.Commit(t.Context(), b); !errors.Is(err, ErrMisfit) {
			t.Errorf("%s %+v gave %v", b.Kind(), b, err)
		}
	}

	// What is removed as a whole stays so, also after a restart.
	commit(t, q, &job.Closed{Cluster: idle, Reason: "no more"})
	for proc := 4; proc < 6; proc++ {
		commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: idle, Proc: proc}})
	}
	if due := enter(t, q); due != "" {
		t.Errorf("%s enters of a cluster that has been removed", due)
	}
	want := dump(t, q.state)
	stop()
	q, _ = start(t, Config{Log: log})
	q.state.seq-- // the second leader's event
	if got := dump(t, q.state); got != want {
		got, want := firstDifference(got, want)
		t.Errorf("after a restart\n%s\nwant\n%s", got, want)
	}
	q.state.seq++
	if due := enter(t, q); due != "" {
		t.Errorf("after a restart %s enters", due)
	}
	commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: most, Proc: 4}})
	if due := enter(t, q); due != "1:5-6 " {
		t.Errorf("then %q enters", due)
	}
}

// TestLateLimitsAreEdited: what an edit of a job says of them is the cluster's, also in a snapshot.
func TestLateLimitsAreEdited(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog()})
	cluster := lateCluster(t, q, "ann", 10, "JobMaterializeLimit", 2)
	for _, step := range []struct{ name, expr, due string }{
		{"JobMaterializeLimit", "4", "1:2-4 "},
		{"jobmaterializelimit", "0", ""},
		{"JobMaterializeMaxIdle", "5", ""},
		{"JobMaterializeLimit", "undefined", "1:4-5 "},
	} {
		commit(t, q, &job.Edited{Job: job.ID{Cluster: cluster}, Set: []job.Assigned{{Name: step.name, Expr: step.expr}}})
		if due := enter(t, q); due != step.due {
			t.Errorf("with %s = %s %q enters, want %q", step.name, step.expr, due, step.due)
		}
	}
	var text bytes.Buffer
	if err := q.state.capture().write(&text); err != nil {
		t.Fatal(err)
	}
	again := q.emptyState()
	if err := readSnapshot(&text, again); err != nil {
		t.Fatal(err)
	}
	if got, want := again.clusters[cluster].late, (job.Late{Idle: 5}); got != want {
		t.Errorf("read back the limits are %+v, want %+v", got, want)
	}
}

// TestLateJobsCountWhenTheyEnter: a cluster of many jobs is taken from a user who may have few in the queue, and
// waits for room.
func TestLateJobsCountWhenTheyEnter(t *testing.T) {
	q, _ := start(t, Config{Log: bus.NewMemoryLog(), MaxPerUser: 5})
	cluster := lateCluster(t, q, "ann", 100, "JobMaterializeMaxIdle", 4)
	submit(t, q, "ann", 1)
	run := job.ID{Cluster: cluster}
	commit(t, q, &job.Offered{Job: run, Epoch: 1}, &job.Started{Job: run, Epoch: 1})
	if due := enter(t, q); due != "" {
		t.Errorf("%s enters beyond the limit", due)
	}
	commit(t, q, &job.Withdrawn{Job: run})
	if due := enter(t, q); due != "1:4-5 " {
		t.Errorf("%q enters when there is room", due)
	}
}
