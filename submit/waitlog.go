package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/internal/pause"
)

// logVigil is what is known of the jobs of an event log.
type logVigil struct {
	cluster, proc int // the job waited for; negative for any
	begun         map[job.ID]bool
	ended         map[job.ID]bool
	clusters      int            // with late materialization, whose jobs are not all there
	good          map[job.ID]int // the exit codes that mean well, where that is not 0
	fails         []failure

	holds bool              // a held job counts as one that has ended
	held  map[job.ID]string // and why it is held
}

// Events of clusters with late materialization, HTCondor's numbers.
const (
	clusterSubmitted eventlog.Kind = 35
	clusterRemoved   eventlog.Kind = 36
)

// newLogVigil waits for all jobs of a log. With holds those that are held are waited for no longer, as in [app.wait];
// condor_wait waits on.
func newLogVigil(holds bool) *logVigil {
	return &logVigil{
		cluster: -1, proc: -1, begun: map[job.ID]bool{}, ended: map[job.ID]bool{}, good: map[job.ID]int{},
		holds: holds, held: map[job.ID]string{},
	}
}

// waitForLog waits until the jobs of an event log have ended, as condor_wait does.
func (a *app) waitForLog(ctx context.Context, path string, jobs []string, how waiting) error {
	v := newLogVigil(a.as == "")
	if len(jobs) > 1 {
		return usage("leave the others out to wait for all", "a log and more than one job or cluster")
	}
	if len(jobs) == 1 {
		if err := v.only(jobs[0]); err != nil {
			return err
		}
	}
	log, err := eventlog.OpenReader(path)
	if err != nil {
		return &diag.Problem{What: "read the event log: " + err.Error(), Err: err}
	}
	defer log.Close()
	bar := a.meter("waiting")
	if how.echo || how.status {
		bar = nil // they use the same lines
	}
	defer bar.clear()
	for {
		if err := a.readLog(log, v, how); err != nil {
			return err
		}
		switch {
		case how.num > 0 && len(v.ended)+len(v.held) >= how.num:
			return a.logDone(v, bar, fmt.Sprintf("Specifed number of jobs (%d) done.", how.num)) // HTCondor's spelling
		case how.num > 0 || how.allEvents:
		case len(v.begun) == 0 && v.clusters == 0:
			what := "this log does not mention any jobs"
			if v.cluster >= 0 {
				what = "this log does not mention that job"
			}
			return &diag.Problem{What: what, Hint: "the log is what the line \"log = ...\" of the job description names"}
		case len(v.ended)+len(v.held) >= len(v.begun) && v.clusters <= 0:
			return a.logDone(v, bar, "All jobs done.")
		}
		bar.jobs(len(v.ended), len(v.begun), "")
		if err := pause.For(ctx, growth); err != nil {
			bar.clear()
			return a.logTimeout(v, err)
		}
	}
}

// logTimeout says what is missing when there is no time left to wait for it.
func (a *app) logTimeout(v *logVigil, err error) error {
	switch {
	case !errors.Is(err, errTimeout):
		return err
	case a.as != "":
		fmt.Fprintln(a.out, "Time expired.")
		return errQuiet
	}
	return &diag.Problem{
		What: fmt.Sprintf("time is up and %d jobs have not ended", len(v.begun)-len(v.ended)-len(v.held)),
		Hint: `"skua logs JOB" tells what has happened to a job`, Err: err,
	}
}

// growth is the time after which a log may have grown. A file of somebody's file system tells nobody, and to look is
// cheap.
const growth = 200 * time.Millisecond

// only says which job is meant: "12", "12.3" or, as logs write it, "12.3.0".
func (v *logVigil) only(text string) error {
	parts := strings.Split(text, ".")
	numbers := make([]int, len(parts))
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 || len(parts) > 3 {
			return usage("a cluster is a number such as 12, a job of it is 12.3", "%q is neither a cluster nor a job", text)
		}
		numbers[i] = n
	}
	v.cluster = numbers[0]
	if len(numbers) > 1 {
		v.proc = numbers[1]
	}
	return nil
}

func (v *logVigil) means(id job.ID) bool {
	return v.cluster < 0 || id.Cluster == v.cluster && (v.proc < 0 || id.Proc == v.proc)
}

// readLog takes in what the log has now.
func (a *app) readLog(log *eventlog.Reader, v *logVigil, how waiting) error {
	for {
		e, err := log.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, eventlog.ErrNotEvent):
			continue // others write into logs, too
		case err != nil:
			return fmt.Errorf("read the event log: %w", err)
		}
		if !v.means(e.Job) {
			continue
		}
		if how.echo {
			fmt.Fprint(a.out, e)
		}
		if text := v.take(e); text != "" && how.status {
			fmt.Fprintf(a.out, "%d.%d.0 %s\n", e.Job.Cluster, e.Job.Proc, printable(text))
		}
		if how.num > 0 && len(v.ended) >= how.num {
			return nil
		}
	}
}

// take counts an event and gives what it means in a word.
func (v *logVigil) take(e eventlog.Event) string {
	switch e.Kind {
	case eventlog.Execute, eventlog.Terminated, eventlog.Aborted, eventlog.Released:
		delete(v.held, e.Job)
	case eventlog.Held:
		if v.holds {
			v.begun[e.Job] = true
			v.held[e.Job] = e.Reason
		}
	}
	switch e.Kind {
	case eventlog.Submit:
		v.begun[e.Job] = true
		return "submitted"
	case clusterSubmitted:
		v.clusters++
	case clusterRemoved:
		v.clusters--
	case eventlog.Execute:
		v.begun[e.Job] = true // the log may have been cut at its beginning
		return "executing on host " + e.Host
	case eventlog.Terminated:
		v.begun[e.Job], v.ended[e.Job] = true, true
		if x := e.Exit; x != nil && x.Signal != 0 {
			v.fails = append(v.fails, failure{e.Job, "ended", fmt.Sprintf("with signal %d", x.Signal)})
		} else if x != nil && x.Code != v.good[e.Job] {
			v.fails = append(v.fails, failure{e.Job, "ended", fmt.Sprintf("with exit code %d", x.Code)})
		}
		return "completed"
	case eventlog.AdInformation:
		for _, a := range e.Attrs {
			if n, err := strconv.Atoi(a.Value); err == nil && strings.EqualFold(a.Name, eventlog.SuccessExit) {
				v.good[e.Job] = n
			}
		}
	case eventlog.Aborted:
		v.begun[e.Job], v.ended[e.Job] = true, true
		v.fails = append(v.fails, failure{e.Job, "was", "removed"})
		return "aborted"
	}
	return ""
}

// failures are the jobs that did not end well, and those that are held.
func (v *logVigil) failures() []string {
	fails := slices.Clone(v.fails)
	for _, id := range slices.SortedFunc(maps.Keys(v.held), job.ID.Compare) {
		fails = append(fails, failure{id, "is", "held: " + v.held[id]})
	}
	return told(fails)
}

// logDone ends the wait. HTCondor's tool says so in words, and has no opinion on how jobs ended.
func (a *app) logDone(v *logVigil, bar *meter, words string) error {
	bar.clear()
	if a.as != "" {
		fmt.Fprintln(a.out, words)
		return nil
	}
	fails := v.failures()
	for _, f := range fails {
		a.say("%s", printable(f))
	}
	if len(fails) > 0 {
		return errQuiet
	}
	return nil
}
