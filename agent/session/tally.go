package session

import "time"

// input is what one source tells: that there is input, or how long there has been none.
type input struct {
	busy bool
	idle time.Duration // zero while busy
}

// tally adds up what several sources of one user tell. The zero value has no source.
type tally struct {
	sources []heard
	told    *bool // whether the latest report was a Busy; nil before the first
}

type heard struct {
	ever, busy bool
	last       time.Time // of the newest input, unless busy
}

func newTally(sources int) *tally { return &tally{sources: make([]heard, sources)} }

// hear takes what source i tells at now, and gives what there is to report, if that is news: one busy
// source is enough for a Busy, and a Quiet needs all of them.
func (t *tally) hear(i int, in input, now time.Time) (input, bool) {
	t.sources[i] = heard{ever: true, busy: in.busy, last: now.Add(-in.idle)}
	sum := input{idle: longestIdle}
	waiting := false
	for _, s := range t.sources {
		waiting = waiting || !s.ever
		sum.busy = sum.busy || s.busy
		if s.ever {
			sum.idle = min(sum.idle, now.Sub(s.last))
		}
	}
	if sum.busy {
		sum.idle = 0
	}
	if waiting && !sum.busy || t.told != nil && *t.told && sum.busy {
		return input{}, false
	}
	t.told = &sum.busy
	return sum, true
}
