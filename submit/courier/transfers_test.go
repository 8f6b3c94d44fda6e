package courier

import (
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/eventlog"
	"skua/internal/job"
)

// A run that its policy holds for how it ended has no checkpoint from which the job goes on.
func TestHeldForHowItEnded(t *testing.T) {
	id := job.ID{Cluster: 3}
	var entries []eventlog.Event
	var r *run
	for _, b := range []job.Body{
		&job.Started{Job: id, Epoch: 1}, &job.Checkpointed{Job: id, Epoch: 1},
		&job.HeldBack{Job: id, Epoch: 1, Code: job.HoldByPolicy, Result: &job.Result{ExitCode: 1}},
	} {
		entries, r = translate(id, &origin{}, r, job.Event{Body: b})
	}
	if len(entries) != 2 || entries[0].Kind != eventlog.Evicted || entries[1].Kind != eventlog.Held {
		t.Fatalf("the log says %+v", entries)
	}
	if entries[0].Checkpointed || r.Saved {
		t.Error("the log says that there is a checkpoint")
	}
}

// A log says what exit code means well, where that is not 0, before it says with which one the job has ended.
func TestSuccessExitInTheLog(t *testing.T) {
	id := job.ID{Cluster: 3}
	for success, want := range map[int][]eventlog.Kind{
		0: {eventlog.Terminated}, 2: {eventlog.AdInformation, eventlog.Terminated},
	} {
		var kinds []eventlog.Kind
		var text string
		for _, e := range terminated(id, &origin{success: success}, run{End: &end{Code: 2}}, time.UTC) {
			kinds = append(kinds, e.Kind)
			text += e.String()
		}
		if says := strings.Contains(text, "\nJobSuccessExitCode = 2\n"); !slices.Equal(kinds, want) || says != (success == 2) {
			t.Errorf("with success_exit_code = %d the log says %v, want %v:\n%s", success, kinds, want, text)
		}
	}
}

// A log says once when a run's inputs were brought, whenever that is told, and never with times that run
// backwards, though the machine's clock may.
func TestTransfers(t *testing.T) {
	id := job.ID{Cluster: 3}
	start := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	after := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	started := job.Event{At: start, Body: &job.Started{Job: id, Epoch: 1}}
	measured := func(at, executing int) job.Event {
		return job.Event{At: after(at), Body: &job.Measured{Job: id, Epoch: 1, Executing: after(executing)}}
	}
	ended := func(at, executing, exited int) job.Event {
		return job.Event{At: after(at), Body: &job.Ended{Job: id, Epoch: 1, Result: job.Result{Executing: after(executing), Exited: after(exited)}}}
	}
	delivered := job.Event{At: after(99), Body: &job.Delivered{Job: id}}
	for _, tt := range []struct {
		name   string
		events []job.Event
		want   []string
	}{
		{
			"told at the end",
			[]job.Event{started, ended(9, 2, 7), delivered},
			[]string{"execute 0", "2 0", "3 2", "5 7", "6 9", "terminated 9"},
		},
		{
			"told while it runs",
			[]job.Event{started, measured(5, 2), measured(6, 2), ended(9, 2, 7), delivered},
			[]string{"execute 0", "2 0", "3 2", "5 7", "6 9", "terminated 9"},
		},
		{
			"the machine's clock is slow",
			[]job.Event{started, ended(9, -60, -50), delivered},
			[]string{"execute 0", "2 0", "3 0", "5 0", "6 9", "terminated 9"},
		},
		{
			"the machine's clock is fast",
			[]job.Event{started, measured(5, 60), ended(9, 60, 70), delivered},
			[]string{"execute 0", "2 0", "3 5", "5 9", "6 9", "terminated 9"},
		},
		{
			"nobody knows",
			[]job.Event{started, {At: after(9), Body: &job.Ended{Job: id, Epoch: 1}}, delivered},
			[]string{"execute 0", "terminated 9"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			var r *run
			for _, ev := range tt.events {
				var entries []eventlog.Event
				entries, r = translate(id, &origin{}, r, ev)
				for _, e := range entries {
					what := e.Kind.String()
					if e.Kind == eventlog.FileTransfer {
						what = string('0' + rune(e.Transfer))
					}
					got = append(got, what+" "+string('0'+rune(e.Time.Sub(start)/time.Second)))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
