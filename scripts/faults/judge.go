//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// records are everything that the verdict rests on.
type records struct {
	accepted map[string]string // id of every job whose submit was acknowledged → the name it has in the journal
	steps    int               // that each job makes
	journal  []entry           // what the jobs wrote down themselves, outside Skua
	queue    map[string]row    // jobs that are left in the queue
	history  map[string][]row  // jobs that have ended
	outputs  map[string]string // standard output, by name in the journal
	logs     map[string]string // the user's log, by name in the journal
	removed  map[string]bool   // ids of which the matchmaker said that they are removed
	wakes    []time.Time       // when machines began to go on that had stood still
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

// judge looks for accepted jobs that were lost, completions recorded twice, copies that ran at a time, and
// records that do not tell the same story. It is a pure function.
func judge(r records) verdict {
	var v verdict
	byName := map[string][]entry{}
	for _, e := range r.journal {
		byName[e.name] = append(byName[e.name], e)
	}
	ids := make([]string, 0, len(r.accepted))
	for id := range r.accepted {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	idOf := map[string]string{}
	for _, id := range ids {
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
		if rows[0].status == statusRemoved {
			if !r.removed[id] {
				v.lost++
				v.add("job %s (%s) was removed, and nobody asked for that", id, name)
			}
			judgeLog(&v, id, r.logs[name], "009 (")
			continue
		}
		judgeCompletion(&v, id, name, r, byName[name], rows[0])
	}
	return v
}

// judgeCompletion: a job that has completed has done all its steps, and everybody says so once.
func judgeCompletion(v *verdict, id, name string, r records, mine []entry, in row) {
	if in.status != statusCompleted || in.signal || in.exit != 0 {
		v.lost++
		v.add("job %s (%s) ended with status %d, exit code %d, by a signal: %t", id, name, in.status, in.exit, in.signal)
		return
	}
	if r.removed[id] {
		v.add("job %s (%s) has completed, and the matchmaker had said that it is removed", id, name)
	}
	ended := slices.ContainsFunc(mine, func(e entry) bool { return e.step == r.steps+1 })
	if want := output(name, r.steps); !ended || r.outputs[name] != want {
		v.lost++
		v.add("job %s (%s) has completed; it says itself that it came to its end: %t; its output is %q, not %q",
			id, name, ended, r.outputs[name], want)
	}
	judgeLog(v, id, r.logs[name], "005 (")
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

// judgeLog: the user's log begins with the submit and tells of one end, at its end.
func judgeLog(v *verdict, id, log, end string) {
	var ends []string
	for line := range strings.Lines(log) {
		for _, code := range []string{"005 (", "009 ("} {
			if strings.HasPrefix(line, code) {
				ends = append(ends, code)
			}
		}
	}
	if len(ends) != 1 || ends[0] != end || !strings.HasPrefix(log, "000 (") || !strings.HasSuffix(log, "\n...\n") {
		if len(ends) > 1 {
			v.doubled++
		}
		v.add("the log of job %s should tell of one end, %s...), and tells of %v:\n%s", id, end, ends, log)
	}
}

// output is what a job that made all its steps has written.
func output(name string, steps int) string {
	return fmt.Sprintf("%s made %d steps\n", name, steps)
}
