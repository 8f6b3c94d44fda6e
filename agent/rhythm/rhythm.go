// Package rhythm has what an idle agent does now and then be done in the same moments, so that it wakes seldom. A program
// that has slept for a minute finds nothing of itself in the processor's caches: to come back costs it more than what it
// then does.
package rhythm

import "time"

// began is where the beats are counted from. Machines are switched on at different times, and so are their beats.
var began = time.Now()

// Next is the beat on which to do again what was done last at that time, and is to be done so often: a multiple of
// every since the process began, half of every after last at the least and one and a half at the most.
func Next(last time.Time, every time.Duration) time.Time {
	soonest := last.Add(every / 2)
	over := soonest.Sub(began) % every
	if over < 0 { // a clock that a test has made
		over += every
	}
	return soonest.Add(every - over)
}
