package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"skua/internal/diag"
	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
	"skua/submit/submittest"
)

func parseAd(t *testing.T, text string) *classad.Ad {
	t.Helper()
	ad, err := classad.ParseAd(text)
	if err != nil {
		t.Fatal(err)
	}
	return ad
}

// TestWaitForLateJobs: jobs that have yet to enter the queue belong to their cluster, and to no job of it. That a job has
// ended is heard of before the next one enters.
func TestWaitForLateJobs(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	s := &job.Submitted{User: submittest.User, Owner: "ann", Ad: parseAd(t, `[ Cmd = "/bin/true"; JobMaterializeLimit = 1 ]`)}
	for range 3 {
		s.Procs = append(s.Procs, classad.NewAd())
	}
	if _, err := pool.Queue.Submit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	id := func(proc int) job.ID { return job.ID{Cluster: 1, Proc: proc} }
	cluster, first := wire.Selection{Clusters: []int{1}}, wire.Selection{Jobs: []job.ID{id(0)}}
	opened := func(proc int) job.Body { return &job.Opened{Cluster: 1, From: proc, Upto: proc + 1} }
	all := []job.Body{&job.Ended{Job: id(0)}, opened(1), &job.Ended{Job: id(1)}, opened(2), &job.Ended{Job: id(2)}}
	for _, tt := range []struct {
		name   string
		sel    wire.Selection
		num    int
		events []job.Body
		over   int    // after so many events
		fails  string // what is said in the end
	}{
		{"the cluster", cluster, 0, all, 5, ""},
		{"all jobs", wire.Selection{}, 0, all, 5, ""},
		{"the cluster and a job", wire.Selection{Clusters: []int{1}, Jobs: first.Jobs}, 0, all, 5, ""},
		{"two of the cluster", cluster, 2, all, 3, ""},
		{"a job", first, 0, all, 1, ""},
		{"a job of which another fails", first, 0, []job.Body{&job.Ended{Job: id(0)}, opened(1), &job.Withdrawn{Job: id(1)}}, 1, ""},
		{"what is left is removed", cluster, 0, []job.Body{&job.Ended{Job: id(0)}, &job.Closed{Cluster: 1}}, 2, "cluster 1 was removed before 2 of its jobs had entered the queue"},
		{"the cluster is removed", cluster, 0, []job.Body{&job.Ended{Job: id(0)}, opened(1), &job.Closed{Cluster: 1}, &job.Withdrawn{Job: id(1)}}, 4, "cluster 1 was removed before 1 of its jobs had entered the queue; job 1.1 was removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newVigil("elsewhere", tt.num)
			if _, err := v.begin(t.Context(), c, tt.sel); err != nil {
				t.Fatal(err)
			}
			over := 0
			for i, b := range tt.events {
				if v.over() {
					break
				}
				v.event(job.Event{Body: b})
				over = i + 1
			}
			if fails := strings.Join(v.failures(), "; "); !v.over() || over != tt.over || fails != tt.fails {
				t.Errorf("over %v after %d events, with %q; want that after %d, with %q", v.over(), over, fails, tt.over, tt.fails)
			}
		})
	}
	st := story{app: &app{out: &bytes.Buffer{}}, sel: cluster, live: map[job.ID]bool{}}
	if err := st.begin(t.Context(), c); err != nil || len(st.live) != 3 {
		t.Errorf("a story begins with the jobs %v: %v", st.live, err)
	}
}

// TestWaitBetweenTwoJobs begins when the only job in the queue has ended and the next has not entered.
func TestWaitBetweenTwoJobs(t *testing.T) {
	next := job.ID{Cluster: 1, Proc: 1}
	v := newVigil("here", 0)
	v.late = latecomers{1: {Cluster: 1, From: 1, Upto: 2}}
	v.past([]wire.JobRow{{
		ID: job.ID{Cluster: 1}, Ad: parseAd(t, `[ JobStatus = 4; ExitCode = 0; `+client.SubmitHost+` = "here" ]`), Delivered: true,
	}})
	v.await(1)
	for _, b := range []job.Body{&job.Opened{Cluster: 1, From: 1, Upto: 2}, &job.Ended{Job: next}, &job.Delivered{Job: next}} {
		if v.over() {
			t.Errorf("the wait is over before %s", b.Kind())
		}
		v.event(job.Event{Body: b})
	}
	if !v.over() || v.done != 2 || len(v.fails) > 0 {
		t.Errorf("over %v with %d jobs, %q; want that with two", v.over(), v.done, v.failures())
	}
}

// TestWaitForOutputsUnderWay: without a name those of jobs that are in the queue no more are waited for, too.
func TestWaitForOutputsUnderWay(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	hosts := []string{"here", "here", "elsewhere", "here"}
	s := &job.Submitted{User: submittest.User, Owner: "ann", Ad: parseAd(t, `[ Cmd = "/bin/true" ]`)}
	for _, host := range hosts {
		s.Procs = append(s.Procs, parseAd(t, `[ `+client.SubmitHost+` = "`+host+`" ]`))
	}
	if _, err := pool.Queue.Submit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	id := func(proc int) job.ID { return job.ID{Cluster: 1, Proc: proc} }
	for proc := range 3 {
		pool.Begin(id(proc), "desk")
		pool.Finish(id(proc), proc, nil)
	}
	pool.Commit(&job.Delivered{Job: id(0)}, &job.Withdrawn{Job: id(3)})

	v := newVigil("here", 0)
	if _, err := v.begin(t.Context(), c, wire.Selection{}); err != nil {
		t.Fatal(err)
	}
	if v.over() || len(v.away) != 1 {
		t.Errorf("outputs that are waited for: %v; want those of 1.1", v.away)
	}
	v.event(job.Event{Body: &job.Delivered{Job: id(1)}})
	if fails := strings.Join(v.failures(), "; "); !v.over() || fails != "job 1.1 ended with exit code 1" {
		t.Errorf("over %v with %q", v.over(), fails)
	}
}

// TestWaitForSomeAndTheirOutputs: of a job that was submitted here the outputs belong to its end.
func TestWaitForSomeAndTheirOutputs(t *testing.T) {
	a, b := job.ID{Cluster: 1}, job.ID{Cluster: 1, Proc: 1}
	v := newVigil("here", 1)
	v.live[a], v.live[b] = true, true
	v.ours[a], v.ours[b] = true, true
	for _, b := range []job.Body{&job.Ended{Job: a}, &job.Ended{Job: b}, &job.Delivered{Job: b}} {
		if v.over() {
			t.Errorf("the wait for one job is over before %s", b.Kind())
		}
		v.event(job.Event{Body: b})
	}
	if !v.over() {
		t.Error("the wait for one job is not over when its outputs are here")
	}
}

// TestWaitHeedsSuccessExitCode: what a job's exit code means is the description's to say, of late jobs too.
func TestWaitHeedsSuccessExitCode(t *testing.T) {
	id := func(proc int) job.ID { return job.ID{Cluster: 1, Proc: proc} }
	v := newVigil("here", 0)
	v.present([]wire.JobRow{{ID: id(0), Ad: parseAd(t, `[ JobStatus = 1; JobSuccessExitCode = 3 ]`)}})
	v.late = latecomers{1: {Cluster: 1, From: 1, Upto: 2}}
	v.await(1)
	for proc, code := range []int{3, 3} {
		v.event(job.Event{Body: &job.Ended{Job: id(proc), Result: job.Result{ExitCode: code}}})
	}
	if len(v.fails) > 0 || !v.over() {
		t.Errorf("over %v, failures %q; want that with none", v.over(), v.failures())
	}
	v = newVigil("here", 0)
	v.past([]wire.JobRow{{ID: id(0), Ad: parseAd(t, `[ JobStatus = 4; ExitCode = 0; JobSuccessExitCode = 3 ]`)}})
	if len(v.fails) != 1 {
		t.Errorf("failures %q, want one", v.failures())
	}
}

// TestWaitHeedsEditedSuccessExitCode: an edit is an expression, and of that job only, not of those that come late.
func TestWaitHeedsEditedSuccessExitCode(t *testing.T) {
	first, late := job.ID{Cluster: 1}, job.ID{Cluster: 1, Proc: 1}
	for _, tt := range []struct {
		was, expr string
		good      int // of the job that is edited
		late      int // of another
	}{
		{"", "3", 3, 0},
		{"", "2+1", 3, 0},
		{"JobSuccessExitCode = 3", "0", 0, 3},
		{"JobSuccessExitCode = 3", "undefined", 0, 3},
		{"JobSuccessExitCode = 3", `"4"`, 0, 3},
	} {
		v := newVigil("here", 0)
		v.present([]wire.JobRow{{ID: first, Ad: parseAd(t, `[ JobStatus = 1; `+tt.was+` ]`)}})
		v.event(job.Event{Body: &job.Edited{Job: first, Set: []job.Assigned{{Name: "jobsuccessexitcode", Expr: tt.expr}}}})
		v.late = latecomers{1: {Cluster: 1, From: 1, Upto: 2}}
		v.await(1)
		v.event(job.Event{Body: &job.Ended{Job: first, Result: job.Result{ExitCode: tt.good}}})
		v.event(job.Event{Body: &job.Ended{Job: late, Result: job.Result{ExitCode: tt.late}}})
		if len(v.fails) > 0 || !v.over() {
			t.Errorf("%q edited to %s: over %v, failures %q; want that with none", tt.was, tt.expr, v.over(), v.failures())
		}
	}
}

// TestWaitNamesJobs: what is the same of many jobs is said once, and who is waited for in vain is named.
func TestWaitNamesJobs(t *testing.T) {
	id := func(proc int) job.ID { return job.ID{Cluster: 7, Proc: proc} }
	v := newVigil("here", 0)
	for proc := range 7 {
		v.live[id(proc)], v.ours[id(proc)] = false, true
	}
	if err := v.overdue(); err.Error() != "time is up and 7 jobs have not ended: 7.0-7.6" {
		t.Error(err)
	}
	for _, b := range []job.Body{
		&job.HeldBack{Job: id(1), Reason: "no such program"}, &job.HeldBack{Job: id(0), Reason: "no such program"},
		&job.Withdrawn{Job: id(3)}, &job.HeldBack{Job: id(2), Reason: "no such program"}, &job.HeldBack{Job: id(4), Reason: "not today"},
		&job.Withdrawn{Job: id(6)},
	} {
		v.event(job.Event{Body: b})
	}
	want := "jobs 7.0-7.2 are held: no such program; jobs 7.3, 7.6 were removed; job 7.4 is held: not today"
	if got := strings.Join(v.failures(), "; "); got != want {
		t.Errorf("it says %s\nwant    %s", got, want)
	}
	if err := v.overdue(); err.Error() != "time is up and job 7.5 has not ended" {
		t.Error(err)
	}
	v.event(job.Event{Body: &job.Ended{Job: id(5)}})
	var p *diag.Problem
	if err := v.overdue(); !errors.As(err, &p) || p.What != "time is up and the outputs of job 7.5 are not here yet" || !strings.Contains(p.Hint, "skua fetch 7.5") {
		t.Errorf("%v, %+v", err, p)
	}
}

// TestWhyOutputsAreNotHere: who waits for nothing but outputs learns what keeps them from their places, and what to do.
func TestWhyOutputsAreNotHere(t *testing.T) {
	pool := submittest.Start(t)
	c := pool.Client(client.Config{})
	defer c.Close()
	dir := t.TempDir()
	v := newVigil("here", 0)
	finish := func(out string) {
		ad := parseAd(t, `[ Cmd = "/bin/true"; `+client.SubmitHost+` = "here" ]`)
		ad.SetString("Iwd", dir)
		ad.SetString("Out", out)
		receipt, err := pool.Queue.Submit(t.Context(), &job.Submitted{User: submittest.User, Owner: "ann", Ad: ad, Procs: []*classad.Ad{classad.NewAd()}})
		if err != nil {
			t.Fatal(err)
		}
		id := job.ID{Cluster: receipt.Cluster}
		pool.Begin(id, "desk7")
		v.live[id], v.ours[id] = true, true
		if ids := v.onlyOutputs(); ids != nil {
			t.Errorf("while a job runs only the outputs of %v are waited for", ids)
		}
		pool.Finish(id, 0, map[string]string{job.StdoutFile: "o"})
		v.event(job.Event{Body: &job.Ended{Job: id}})
	}
	says := func() string {
		var text bytes.Buffer
		a := &app{err: &text}
		a.sayLate(t.Context(), c, client.Home(dir), v.onlyOutputs())
		return text.String()
	}
	finish("out")
	if got := says(); !strings.Contains(got, "outputs are not here yet") || !strings.Contains(got, "courier.log says why") {
		t.Errorf("of outputs that have a place it says %q", got)
	}
	finish("none/out")
	if got := says(); !strings.Contains(got, "_condor_stdout of job 2.0: the directory "+dir+"/none is not there\n") || !strings.Contains(got, "hint: make it") {
		t.Errorf("of outputs without a place it says %q", got)
	}
}

// TestWaitForALog: a job that is held in the end is waited for no longer, except by condor_wait, and the log says which
// exit code means well.
func TestWaitForALog(t *testing.T) {
	of := func(kinds ...eventlog.Kind) (events []eventlog.Event) {
		for _, k := range kinds {
			events = append(events, eventlog.Event{Kind: k, Job: job.ID{Cluster: 1}, Reason: "not today"})
		}
		return events
	}
	ended := func(code int, attrs ...eventlog.Attr) []eventlog.Event {
		id := job.ID{Cluster: 1}
		return append(of(eventlog.Submit, eventlog.Execute),
			eventlog.Event{Kind: eventlog.AdInformation, Job: id, Attrs: attrs},
			eventlog.Event{Kind: eventlog.Terminated, Job: id, Exit: &eventlog.Exit{Code: code}})
	}
	good := eventlog.Attr{Name: eventlog.SuccessExit, Value: "3"}
	for _, tt := range []struct {
		name   string
		holds  bool
		events []eventlog.Event
		left   int
		fails  string
	}{
		{"held", true, of(eventlog.Submit, eventlog.Held), 0, "job 1.0 is held: not today"},
		{"held, for condor_wait", false, of(eventlog.Submit, eventlog.Held), 1, ""},
		{"released", true, of(eventlog.Submit, eventlog.Held, eventlog.Released), 1, ""},
		{"released and ended", true, of(eventlog.Submit, eventlog.Held, eventlog.Released, eventlog.Execute, eventlog.Terminated), 0, ""},
		{"removed while held", true, of(eventlog.Submit, eventlog.Held, eventlog.Aborted), 0, "job 1.0 was removed"},
		{"ended with its success_exit_code", true, ended(3, good), 0, ""},
		{"ended with 0, which is another", true, ended(0, good), 0, "job 1.0 ended with exit code 0"},
		{"ended with 3, and 0 means well", true, ended(3, eventlog.Attr{Name: "Owner", Value: `"ann"`}), 0, "job 1.0 ended with exit code 3"},
		{
			"two that end alike", true,
			append(ended(3), eventlog.Event{Kind: eventlog.Terminated, Job: job.ID{Cluster: 1, Proc: 1}, Exit: &eventlog.Exit{Code: 3}}),
			0, "jobs 1.0-1.1 ended with exit code 3",
		},
	} {
		v := newLogVigil(tt.holds)
		for _, e := range tt.events {
			v.take(e)
		}
		left, fails := len(v.begun)-len(v.ended)-len(v.held), strings.Join(v.failures(), "; ")
		if left != tt.left || fails != tt.fails {
			t.Errorf("%s: %d left and %q, want %d and %q", tt.name, left, fails, tt.left, tt.fails)
		}
	}
}
