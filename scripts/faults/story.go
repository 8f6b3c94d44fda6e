//go:build linux

package main

import (
	"fmt"
	"slices"

	"skua/internal/eventlog"
	"skua/internal/job"
)

// byJob sorts the events of the queue log by the jobs that they are about.
func byJob(all []job.Event) map[string][]job.Event {
	of := map[string][]job.Event{}
	for _, ev := range all {
		for _, id := range ev.Body.Jobs() {
			of[id.String()] = append(of[id.String()], ev)
		}
	}
	return of
}

// judgeEvents: in the queue log a job is submitted once and first, ends once, and epochs only grow; its row in the
// history says the same.
func judgeEvents(v *verdict, id string, events []job.Event, in row) {
	if len(events) == 0 {
		v.lost++
		v.add("job %s is in the history, and the queue log tells nothing of it", id)
		return
	}
	submits, ends, starts, status := 0, 0, 0, 0
	var epoch job.Epoch
	for i, ev := range events {
		switch b := ev.Body.(type) {
		case *job.Submitted:
			if submits++; i != 0 {
				v.add("job %s: event %d submits it, and others were before", id, ev.Seq)
			}
		case *job.Offered:
			if b.Epoch <= epoch {
				v.doubled++
				v.add("job %s: event %d offers it with epoch %d, after epoch %d", id, ev.Seq, b.Epoch, epoch)
			}
			epoch = b.Epoch
			if ends > 0 {
				v.doubled++
				v.add("job %s: event %d offers it after its end", id, ev.Seq)
			}
		case *job.Started:
			starts++
			if b.Epoch != epoch {
				v.doubled++
				v.add("job %s: event %d starts epoch %d, and the latest offer is %d", id, ev.Seq, b.Epoch, epoch)
			}
		case *job.Ended:
			ends++
			status = statusCompleted
			if b.Epoch != epoch {
				v.doubled++
				v.add("job %s: event %d is the result of epoch %d, and the latest offer is %d", id, ev.Seq, b.Epoch, epoch)
			}
		case *job.Withdrawn:
			ends++
			status = statusRemoved
		}
	}
	if submits != 1 {
		v.add("job %s was submitted %d times in the queue log", id, submits)
	}
	if ends != 1 {
		if ends > 1 {
			v.doubled++
		}
		v.add("job %s has ended %d times in the queue log", id, ends)
	}
	if status != in.status || starts != in.starts {
		v.add("job %s has status %d after %d starts in the queue log, and %d after %d in the history", id, status, starts, in.status, in.starts)
	}
}

// told are the kinds of entries of a user's log that stand for one event of the queue log each. The others are notes
// on how files moved and memory grew, of which there may be more or fewer.
var told = []eventlog.Kind{
	eventlog.Submit, eventlog.Execute, eventlog.Checkpointed, eventlog.Evicted, eventlog.Terminated, eventlog.Aborted,
	eventlog.Suspended, eventlog.Unsuspended, eventlog.Held, eventlog.Released, eventlog.Disconnected,
	eventlog.Reconnected, eventlog.ReconnectFailed, eventlog.ShadowException,
}

// judgeLog: the user's log is whole, makes sense by itself, and tells the story of the queue log, each thing once.
func judgeLog(v *verdict, id string, log userLog, events []job.Event) {
	if log.broken != "" {
		v.add("the log of job %s is not whole: %s", id, log.broken)
	}
	var tells []eventlog.Kind
	ends := 0
	for _, e := range log.events {
		if e.Job.String() != id {
			v.add("the log of job %s has an entry about job %v", id, e.Job)
		}
		if slices.Contains(told, e.Kind) {
			tells = append(tells, e.Kind)
		}
		if e.Kind == eventlog.Terminated || e.Kind == eventlog.Aborted {
			ends++
		}
	}
	if ends > 1 {
		v.doubled++
	}
	if err := sensible(tells); err != nil {
		v.add("the log of job %s makes no sense: %v: %v", id, err, tells)
	}
	if want := story(events); !slices.Equal(tells, want) {
		v.add("the log of job %s tells of\n%v, and the queue log of\n%v", id, tells, want)
	}
}

// sensible says what in the order of a log's entries cannot be.
func sensible(tells []eventlog.Kind) error {
	running, held, paused, cut := false, false, false, false
	for i, k := range tells {
		wrong := false
		switch k {
		case eventlog.Submit:
			wrong = i != 0
		case eventlog.Execute:
			wrong = running || held
			running, paused, cut = true, false, false
		case eventlog.Evicted, eventlog.ShadowException:
			wrong = !running
			running = false
		case eventlog.ReconnectFailed:
			wrong = !running || !cut
			running, cut = false, false
		case eventlog.Disconnected:
			wrong = !running || cut
			cut = true
		case eventlog.Reconnected:
			wrong = !running || !cut
			cut = false
		case eventlog.Suspended:
			wrong = !running || paused
			paused = true
		case eventlog.Unsuspended:
			wrong = !running || !paused
			paused = false
		case eventlog.Held:
			wrong = running || held
			held = true
		case eventlog.Released:
			wrong = !held
			held = false
		case eventlog.Aborted:
			wrong = running || i != len(tells)-1
		case eventlog.Terminated:
			wrong = !running || held || i != len(tells)-1
		}
		if wrong || i == 0 && k != eventlog.Submit {
			return fmt.Errorf("%v as entry %d", k, i+1)
		}
	}
	if n := len(tells); n == 0 || tells[n-1] != eventlog.Terminated && tells[n-1] != eventlog.Aborted {
		return fmt.Errorf("it has no end")
	}
	return nil
}

// story is what a user's log should tell of a job: it is written here once more, from the description of the log in
// docs/eventlog.md, and not taken from the courier.
func story(events []job.Event) (tells []eventlog.Kind) {
	say := func(k ...eventlog.Kind) { tells = append(tells, k...) }
	running, lapsed, ended := false, false, false
	for _, ev := range events {
		switch ev.Body.(type) {
		case *job.Submitted:
			say(eventlog.Submit)
		case *job.Offered:
			if lapsed {
				say(eventlog.ReconnectFailed)
			}
			running, lapsed = false, false
		case *job.Started:
			say(eventlog.Execute)
			running = true
		case *job.Paused:
			say(eventlog.Suspended)
		case *job.Continued:
			say(eventlog.Unsuspended)
		case *job.Checkpointed:
			say(eventlog.Checkpointed)
		case *job.Lapsed:
			say(eventlog.Disconnected)
			lapsed = true
		case *job.Revived:
			say(eventlog.Reconnected)
			lapsed = false
		case *job.Evicted, *job.Requeued, *job.HeldBack, *job.Withdrawn:
			if running {
				say(eventlog.Evicted)
			}
			running, lapsed = false, false
			switch ev.Body.(type) {
			case *job.HeldBack:
				say(eventlog.Held)
			case *job.Withdrawn:
				say(eventlog.Aborted)
			}
		case *job.Released:
			say(eventlog.Released)
		case *job.Ended:
			ended = true
		case *job.Delivered:
			if ended {
				say(eventlog.Terminated)
				ended = false
			}
		}
	}
	return tells
}
