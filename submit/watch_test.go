package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

var batches = []wire.BatchRow{
	{
		Owner: "ann", Name: "sweep", First: 12, Last: 13, FirstJob: job.ID{Cluster: 12, Proc: 40}, LastJob: job.ID{Cluster: 13, Proc: 59},
		Command: "sim 40", Total: 100, Done: 40, Running: 8, Idle: 50, Held: 2,
		Why: "every machine that matches is in use", HeldWhy: "it used 2.1 GB of memory",
	},
	{Owner: "ann", First: 14, Last: 14, FirstJob: job.ID{Cluster: 14}, LastJob: job.ID{Cluster: 14}, Command: "render", Total: 1, Running: 1},
}

func TestWatchPicture(t *testing.T) {
	var b strings.Builder
	w := watch{app: &app{out: &bytes.Buffer{}}}
	w.picture(&b, batches, 80, time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC))
	for line := range strings.Lines(b.String()) {
		if n := len(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("a line has %d characters: %s", n, line)
		}
	}
	golden(t, "watch.txt", b.String())
}

// Into a pipe a line is written for what has changed, and none for what has not.
func TestWatchLines(t *testing.T) {
	var out bytes.Buffer
	w := watch{app: &app{out: &out}, last: map[string]string{}}
	at := time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC)
	w.lines(batches, at)
	w.lines(batches, at.Add(time.Second))
	later := []wire.BatchRow{batches[0]}
	later[0].Done, later[0].Running = 41, 7
	w.lines(later, at.Add(2*time.Second))
	golden(t, "watch-lines.txt", out.String())
}

func TestCompletionWords(t *testing.T) {
	want := []string{"12.40\tsweep", "13.59\tsweep", "14\trender, 1 left"}
	if got := jobWords(batches, []string{"14.0"}); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("words are %q, want %q", got, want)
	}
}
