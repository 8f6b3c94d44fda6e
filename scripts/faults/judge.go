//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"skua/internal/eventlog"
	"skua/internal/job"
)

// records are everything that the verdict rests on.
type records struct {
	accepted map[string]string // id of every job that is known → the name it has in the journal
	steps    int               // that each job makes

	journal []entry            // what the jobs wrote down themselves, outside Skua
	outputs map[string]outputs // by name in the journal
	logs    map[string]userLog // the same
	wakes   []time.Time        // when machines began to go on that had stood still

	operations []operation      // what the user asked for, and was told
	queue      map[string]row   // jobs that are left in the queue
	history    map[string][]row // jobs that have ended

	events       []job.Event // the queue log, from its first event
	archiveError error       // why they could not be read
}

// outputs are the files that a job has made, as they came back.
type outputs struct{ stdout, result string }

// userLog is what the log of one job says.
type userLog struct {
	events []eventlog.Event
	broken string // what in it is no event
}

func (l userLog) tellsOf(k eventlog.Kind) bool {
	return slices.ContainsFunc(l.events, func(e eventlog.Event) bool { return e.Kind == k })
}

// unaware is how long the processes of a machine may run that has stood still without notice, until the
// inits among them have looked at the clock: no lease can hold a job that runs at the same moment.
const unaware = 200 * time.Millisecond

// entry is a line of the journal: job NAME, in the run that drew NONCE, did WHAT.
type entry struct {
	name, nonce string
	step        int // from 1; 0 is the beginning, and steps+1 the end
	at          time.Time
}

// row is a job as the matchmaker tells of it.
type row struct {
	status, starts, exit int
	signal               bool
	why                  string
	holdCode             int
	name                 string // in the journal
}

const (
	statusRemoved   = 3
	statusCompleted = 4
)

// adopt counts jobs as accepted that are there, although nobody was told so: their submit was killed on its way, or
// its answer got lost.
func (r *records) adopt() {
	for id, row := range r.queue {
		r.accepted[id] = row.name
	}
	for id, rows := range r.history {
		r.accepted[id] = rows[0].name
	}
}

// verdict is what the records prove.
type verdict struct {
	lost, doubled int
	violations    []string
}

func (v *verdict) add(format string, args ...any) {
	v.violations = append(v.violations, fmt.Sprintf(format, args...))
}

// judge looks for accepted jobs that were lost, completions recorded twice, copies that ran at a time, outputs that
// are not what the job made, and records that do not tell the same story. It is a pure function.
func judge(r records) verdict {
	var v verdict
	if r.archiveError != nil {
		v.add("the archive of the queue log cannot be read: %v", r.archiveError)
	}
	byName := map[string][]entry{}
	for _, e := range r.journal {
		byName[e.name] = append(byName[e.name], e)
	}
	events := byJob(r.events)
	asked := map[string]bool{} // to be removed
	for _, op := range r.operations {
		if op.verb == "rm" && op.outcome != no {
			asked[op.job] = true
		}
	}
	idOf := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(r.accepted)) {
		name := r.accepted[id]
		if other, twice := idOf[name]; twice {
			v.doubled++
			v.add("job %s (%s) was submitted twice, as job %s too", id, name, other)
		}
		idOf[name] = id
		rows := r.history[id]
		switch left, waits := r.queue[id]; {
		case waits:
			v.lost++
			v.add("job %s (%s) has not ended: status %d, %s", id, name, left.status, left.why)
			continue
		case len(rows) == 0:
			v.lost++
			v.add("job %s (%s) is neither in the queue nor in the history", id, name)
			continue
		case len(rows) > 1:
			v.doubled++
			v.add("job %s (%s) is in the history %d times", id, name, len(rows))
			continue
		}
		judgeRuns(&v, id, byName[name], rows[0], r.wakes)
		judgeEnd(&v, id, name, r, byName[name], rows[0], asked[id])
		judgeEvents(&v, id, events[id], rows[0])
		judgeLog(&v, id, r.logs[name], events[id])
	}
	judgeOperations(&v, r.operations, r.accepted)
	return v
}

// judgeEnd: a job that has completed has done all its steps, and its files are there, whole; one that was removed
// was to be removed.
func judgeEnd(v *verdict, id, name string, r records, mine []entry, in row, asked bool) {
	if in.status == statusRemoved {
		if !asked {
			v.lost++
			v.add("job %s (%s) was removed, and nobody asked for that", id, name)
		}
		return
	}
	if in.status != statusCompleted || in.signal || in.exit != 0 {
		v.lost++
		v.add("job %s (%s) ended with status %d, exit code %d, by a signal: %t", id, name, in.status, in.exit, in.signal)
		return
	}
	ended := slices.ContainsFunc(mine, func(e entry) bool { return e.step == r.steps+1 })
	got := r.outputs[name]
	if want := output(name, r.steps); !ended || got.stdout != want {
		v.lost++
		v.add("job %s (%s) has completed; it says itself that it came to its end: %t; its output is %q, not %q",
			id, name, ended, got.stdout, want)
	}
	if want := result(name); got.result != want {
		v.lost++
		v.add("job %s (%s) has completed, and its result has %d bytes, not the right %d", id, name, len(got.result), len(want))
	}
}

// judgeRuns: runs of a job with different nonces never mix, and the steps of one nonce go back only when
// the job was started again, from an image.
func judgeRuns(v *verdict, id string, mine []entry, in row, wakes []time.Time) {
	slices.SortStableFunc(mine, func(a, b entry) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	over := map[string]bool{}
	last, runs := entry{}, 0
	for _, e := range mine {
		if e.nonce != last.nonce {
			if over[e.nonce] && justWoken(e.at, wakes) {
				continue
			}
			if over[e.nonce] {
				v.doubled++
				v.add("job %s: the run %s made step %d at %s, after the run %s had begun: two copies at a time",
					id, e.nonce, e.step, e.at.Format(time.StampMicro), last.nonce)
				return
			}
			over[last.nonce] = true
			runs++
		} else if e.step <= last.step {
			runs++
		}
		last = e
	}
	if runs > in.starts {
		v.doubled++
		v.add("job %s was started %d times, and its steps tell of %d runs: two copies at a time", id, in.starts, runs)
	}
}

// justWoken says whether a machine has begun to go on just before.
func justWoken(at time.Time, wakes []time.Time) bool {
	return slices.ContainsFunc(wakes, func(wake time.Time) bool {
		after := at.Sub(wake)
		return after >= 0 && after < unaware
	})
}
