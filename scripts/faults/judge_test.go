//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/policy/classad"
)

var jobOne = job.ID{Cluster: 1}

// good is what an undisturbed job of two steps leaves behind.
func good() records {
	return records{
		accepted: map[string]string{"1.0": "a"},
		steps:    2,
		journal:  journal("a n1 0", "a n1 1", "a n1 2", "a n1 3"),
		history:  map[string][]row{"1.0": {{status: statusCompleted, starts: 1}}},
		outputs:  map[string]outputs{"a": {output("a", 2), result("a")}},
		logs:     map[string]userLog{"a": entries(eventlog.Submit, eventlog.Execute, eventlog.Terminated)},
		queue:    map[string]row{},
		operations: []operation{
			{verb: "submit", job: "1.0", from: second(0), to: second(1), outcome: yes},
			{verb: "q", job: "1.0", from: second(8), to: second(9), outcome: yes, status: statusCompleted},
		},
		events: logged(submittedOne, offered(1), started(1), ended(1), delivered),
	}
}

// moved is a job that was started a second time.
func moved(r *records) {
	r.history["1.0"][0].starts = 2
	r.events = logged(submittedOne, offered(1), started(1), &job.Evicted{Job: jobOne, Epoch: 1}, offered(2), started(2), ended(2), delivered)
	r.logs["a"] = entries(eventlog.Submit, eventlog.Execute, eventlog.Evicted, eventlog.Execute, eventlog.Terminated)
}

// removedByUser is a job whose user has removed it before it ran.
func removedByUser(r *records) {
	r.history["1.0"][0] = row{status: statusRemoved}
	r.journal = nil
	r.events = logged(submittedOne, &job.Withdrawn{Job: jobOne})
	r.logs["a"] = entries(eventlog.Submit, eventlog.Aborted)
	r.operations = []operation{
		{verb: "submit", job: "1.0", from: second(0), to: second(1), outcome: yes},
		{verb: "rm", job: "1.0", from: second(2), to: second(3), outcome: yes},
		{verb: "q", job: "1.0", from: second(8), to: second(9), outcome: yes, status: statusRemoved},
	}
}

func second(n int64) time.Time { return time.Unix(n, 0) }

// The events of the queue log.
var (
	submittedOne = &job.Submitted{Cluster: 1, Procs: make([]*classad.Ad, 1)}
	delivered    = &job.Delivered{Job: jobOne}
)

func offered(e job.Epoch) job.Body { return &job.Offered{Job: jobOne, Epoch: e} }
func started(e job.Epoch) job.Body { return &job.Started{Job: jobOne, Epoch: e} }
func ended(e job.Epoch) job.Body   { return &job.Ended{Job: jobOne, Epoch: e} }

func logged(bodies ...job.Body) []job.Event {
	var all []job.Event
	for i, b := range bodies {
		all = append(all, job.Event{Seq: uint64(i + 1), Body: b})
	}
	return all
}

// entries is a user's log of the job.
func entries(kinds ...eventlog.Kind) (l userLog) {
	for _, k := range kinds {
		l.events = append(l.events, eventlog.Event{Kind: k, Job: jobOne})
	}
	return l
}

// journal makes entries a second apart from "name nonce step".
func journal(lines ...string) []entry {
	var all []entry
	for i, line := range lines {
		f := strings.Fields(line)
		all = append(all, entry{name: f[0], nonce: f[1], step: int(f[2][0] - '0'), at: second(int64(i))})
	}
	return all
}

// Every way in which a pool could break its word must be seen, and what it may do must pass.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name          string
		change        func(*records)
		lost, doubled int
		violations    int // -1: some
	}{
		{"an undisturbed job", func(*records) {}, 0, 0, 0},
		{"started again from its beginning", func(r *records) {
			moved(r)
			r.journal = journal("a n1 0", "a n1 1", "a n2 0", "a n2 1", "a n2 2", "a n2 3")
		}, 0, 0, 0},
		{"gone on from an image that is a step old", func(r *records) {
			moved(r)
			r.journal = journal("a n1 0", "a n1 1", "a n1 2", "a n1 2", "a n1 3")
		}, 0, 0, 0},
		{"a step in the moment in which its machine woke", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n1 1", "a n2 1", "a n2 2", "a n2 3")
			moved(r)
			r.wakes = []time.Time{time.Unix(2, 0).Add(-time.Millisecond)}
		}, 0, 0, 0},
		{"removed because its user said so", removedByUser, 0, 0, 0},
		{"removed by a command whose answer got lost", func(r *records) {
			removedByUser(r)
			r.operations[1].outcome = unknown
		}, 0, 0, 0},
		{"submitted by a command that was killed", func(r *records) { r.operations = r.operations[1:] }, 0, 0, 0},
		{"paused, cut off, back, and moved after all", func(r *records) {
			r.history["1.0"][0].starts = 2
			r.events = logged(submittedOne, offered(1), started(1), &job.Paused{Job: jobOne, Epoch: 1}, &job.Continued{Job: jobOne, Epoch: 1},
				&job.Lapsed{Job: jobOne, Epoch: 1}, &job.Revived{Job: jobOne, Epoch: 1}, &job.Lapsed{Job: jobOne, Epoch: 1},
				offered(2), started(2), ended(2), delivered)
			r.logs["a"] = entries(eventlog.Submit, eventlog.Execute, eventlog.Suspended, eventlog.Unsuspended, eventlog.Disconnected, eventlog.Reconnected,
				eventlog.Disconnected, eventlog.ReconnectFailed, eventlog.Execute, eventlog.ImageSize, eventlog.Terminated)
		}, 0, 0, 0},

		{"forgotten", func(r *records) { delete(r.history, "1.0") }, 1, 0, 1},
		{"never ended", func(r *records) { r.queue["1.0"] = row{status: 1} }, 1, 0, 1},
		{"completed twice", func(r *records) { r.history["1.0"] = append(r.history["1.0"], r.history["1.0"][0]) }, 0, 1, 1},
		{"submitted twice", func(r *records) {
			r.accepted["2.0"] = "a"
			r.history["2.0"] = []row{{status: statusRemoved}}
			r.events = append(r.events, job.Event{Seq: 6, Body: &job.Submitted{Cluster: 2, Procs: make([]*classad.Ad, 1)}},
				job.Event{Seq: 7, Body: &job.Withdrawn{Job: job.ID{Cluster: 2}}})
			r.operations = append(r.operations, operation{verb: "rm", job: "2.0", from: second(0), to: second(9)})
		}, 0, 2, -1},
		{"completed without the last step", func(r *records) { r.journal = r.journal[:3] }, 1, 0, 1},
		{"completed without output", func(r *records) { r.outputs["a"] = outputs{"", result("a")} }, 1, 0, 1},
		{"completed with half a file", func(r *records) { r.outputs["a"] = outputs{output("a", 2), result("a")[:4096]} }, 1, 0, 1},
		{"completed with another job's file", func(r *records) { r.outputs["a"] = outputs{output("a", 2), result("b")} }, 1, 0, 1},
		{"removed though nobody asked", func(r *records) {
			removedByUser(r)
			r.operations = r.operations[:1]
		}, 1, 0, 1},
		{"removed though that was refused", func(r *records) {
			removedByUser(r)
			r.operations[1].outcome = no
		}, 1, 0, 2},
		{"completed though it is removed", func(r *records) {
			r.operations = append(r.operations, operation{verb: "rm", job: "1.0", from: second(2), to: second(3), outcome: yes})
		}, 0, 0, 1},
		{"failed by itself", func(r *records) { r.history["1.0"][0].exit = 1 }, 1, 0, 1},

		{"offered again after its end", func(r *records) {
			r.events = logged(submittedOne, offered(1), started(1), ended(1), offered(2), delivered)
		}, 0, 1, 1},
		{"ended twice in the queue log", func(r *records) {
			r.events = logged(submittedOne, offered(1), started(1), ended(1), ended(1), delivered)
		}, 0, 1, 1},
		{"the result of a run that was superseded", func(r *records) {
			moved(r)
			r.events[6].Body = ended(1)
		}, 0, 1, 1},
		{"an epoch twice", func(r *records) {
			moved(r)
			r.events[4].Body = offered(1)
		}, 0, 3, -1},
		{"not in the queue log", func(r *records) { r.events = nil }, 1, 0, -1},
		{"an archive that cannot be read", func(r *records) { r.archiveError = errors.New("half a record") }, 0, 0, 1},
		{"more starts in the history than in the queue log", func(r *records) { r.history["1.0"][0].starts = 2 }, 0, 0, 1},

		{"completed twice in the log", func(r *records) {
			r.logs["a"] = entries(eventlog.Submit, eventlog.Execute, eventlog.Terminated, eventlog.Terminated)
		}, 0, 1, 2},
		{"no end in the log", func(r *records) { r.logs["a"] = entries(eventlog.Submit, eventlog.Execute) }, 0, 0, 2},
		{"a run missing in the log", func(r *records) {
			moved(r)
			r.logs["a"] = entries(eventlog.Submit, eventlog.Execute, eventlog.Terminated)
		}, 0, 0, 1},
		{"an eviction missing in the log", func(r *records) {
			moved(r)
			r.logs["a"] = entries(eventlog.Submit, eventlog.Execute, eventlog.Execute, eventlog.Terminated)
		}, 0, 0, 2},
		{"a torn log", func(r *records) {
			r.logs["a"] = userLog{r.logs["a"].events, "12 bytes at its end are no event"}
		}, 0, 0, 1},
		{"an entry about another job in the log", func(r *records) {
			l := entries(eventlog.Submit, eventlog.Execute, eventlog.Terminated)
			l.events[1].Job.Proc = 1
			r.logs["a"] = l
		}, 0, 0, 1},

		{"two copies at a time", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n1 1", "a n2 1", "a n2 2", "a n2 3")
			moved(r)
		}, 0, 1, 1},
		{"two copies of one image at a time", func(r *records) {
			r.journal = journal("a n1 0", "a n1 1", "a n1 2", "a n1 1", "a n1 3", "a n1 2", "a n1 3")
			moved(r)
		}, 0, 1, 1},
		{"two copies at a time after its machine woke", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n1 1", "a n2 1", "a n2 2", "a n2 3")
			moved(r)
			r.wakes = []time.Time{time.Unix(1, 0), time.Unix(3, 0)}
		}, 0, 1, 1},
		{"a run that the matchmaker knows nothing of", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n2 1", "a n2 2", "a n2 3")
		}, 0, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good()
			tt.change(&r)
			v := judge(r)
			if v.lost != tt.lost || v.doubled != tt.doubled || len(v.violations) != tt.violations && !(tt.violations < 0 && len(v.violations) > 0) {
				t.Errorf("lost %d, doubled %d, violations %q; want %d, %d and %d of them", v.lost, v.doubled, v.violations, tt.lost, tt.doubled, tt.violations)
			}
		})
	}
}

// What users are told must fit one order; every way in which it could not is seen.
func TestOperations(t *testing.T) {
	op := func(verb string, from, to int64, o outcome, status ...int) operation {
		op := operation{verb: verb, job: "1.0", from: second(from), to: second(to), outcome: o}
		if len(status) > 0 {
			op.status = status[0]
		}
		return op
	}
	submit := op("submit", 0, 1, yes)
	for _, tt := range []struct {
		name string
		fits bool
		ops  []operation
	}{
		{"held, seen, released, seen", true, []operation{submit, op("hold", 2, 3, yes), op("q", 4, 5, yes, 5), op("release", 6, 7, yes), op("q", 8, 9, yes, 1)}},
		{"completes between two looks", true, []operation{submit, op("q", 2, 3, yes, 2), op("q", 4, 5, yes)}},
		{"completes before it is held", true, []operation{submit, op("q", 2, 3, yes, 2), op("hold", 4, 5, no), op("q", 6, 7, yes)}},
		{"a hold that was not answered, done", true, []operation{submit, op("hold", 2, 3, unknown), op("q", 4, 5, yes, 5)}},
		{"the same, not done", true, []operation{submit, op("hold", 2, 3, unknown), op("q", 4, 5, yes, 2)}},
		{"the same, done late", true, []operation{submit, op("hold", 2, 3, unknown), op("q", 4, 5, yes, 2), op("q", 6, 7, yes, 5)}},
		{"hold and release at a time, in either order", true, []operation{submit, op("hold", 2, 3, yes), op("release", 4, 7, yes), op("hold", 5, 6, yes), op("q", 8, 9, yes, 5)}},

		{"an acknowledged hold is forgotten", false, []operation{submit, op("hold", 2, 3, yes), op("q", 4, 5, yes, 2)}},
		{"an acknowledged release is forgotten", false, []operation{submit, op("hold", 2, 3, yes), op("release", 4, 5, yes), op("q", 6, 7, yes, 5)}},
		{"an acknowledged submit is forgotten", false, []operation{submit, op("q", 2, 3, yes), op("q", 4, 5, yes, 1)}},
		{"seen held, and then as before", false, []operation{submit, op("hold", 2, 9, yes), op("q", 3, 4, yes, 5), op("q", 5, 6, yes, 2)}},
		{"held though nobody asked", false, []operation{submit, op("q", 4, 5, yes, 5)}},
		{"a refused hold is done", false, []operation{submit, op("q", 2, 3, yes, 2), op("hold", 2, 3, no), op("q", 4, 5, yes, 5)}},
		{"removed, and there again", false, []operation{submit, op("rm", 2, 3, yes), op("q", 4, 5, yes, 1)}},
		{"held once, released twice", false, []operation{submit, op("hold", 2, 3, yes), op("release", 4, 5, yes), op("release", 6, 7, yes)}},
		{"completed, and running again", false, []operation{submit, op("q", 2, 3, yes, 4), op("q", 4, 5, yes, 2)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v verdict
			judgeOperations(&v, tt.ops, nil)
			if fits := len(v.violations) == 0; fits != tt.fits {
				t.Errorf("fits: %t, want %t: %q", fits, tt.fits, v.violations)
			}
		})
	}
}
