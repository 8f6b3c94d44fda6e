package probe

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// On Windows a helper in each session of a user follows the session's input. Here is what it decides and
// what it says, apart from any call of the system.

// How often a helper looks at the clock.
const (
	helperBeat = 20 * time.Second      // when nothing happens, so that its silence means something
	helperPoll = 50 * time.Millisecond // until the system has been seen to push the input
)

// inputReport is one thing a helper says: that somebody has begun to use the session, or for how long nobody
// has.
type inputReport struct {
	Active     bool
	Idle       time.Duration // when not Active
	FullScreen bool          // something fills the screen and wants no company
}

// line is the report as it goes through the pipe.
func (r inputReport) line() string {
	word := "active"
	if !r.Active {
		word = "idle " + strconv.FormatInt(r.Idle.Milliseconds(), 10)
	}
	if r.FullScreen {
		word += " full"
	}
	return word + "\n"
}

// maxReportLine bounds a line, its end included.
const maxReportLine = 64

// parseInputReport reads a line. Helpers have their users' rights, so it may hold anything.
func parseInputReport(line string) (inputReport, error) {
	var r inputReport
	rest := line
	if rest, r.FullScreen = strings.CutSuffix(rest, " full"); rest == "active" {
		r.Active = true
		return r, nil
	}
	ms, ok := strings.CutPrefix(rest, "idle ")
	n, err := strconv.ParseUint(ms, 10, 32)
	if !ok || err != nil {
		return r, fmt.Errorf("a helper said %.40q", line)
	}
	r.Idle = time.Duration(n) * time.Millisecond
	return r, nil
}

// inputFollow decides what a helper does. It knows of time only what it is told.
type inputFollow struct {
	quiet  time.Duration // how long a session must be still for its next input to be news
	pushes bool          // the system has been seen to push input: no need to look for it
	active bool
	begun  bool
	last   time.Duration // when the newest input was
	said   time.Duration // when something was last said
}

// inputNext is what a helper does after a step.
type inputNext struct {
	say    *inputReport  // if there is something to say
	listen bool          // wants to be told of the next input
	wait   time.Duration // until the timer
}

// step goes on at the instant now, with what the session says of how long it has been idle. pushed says that
// input was just pushed; otherwise it is the beginning, or the timer.
func (f *inputFollow) step(now, idle time.Duration, pushed bool) inputNext {
	touched := f.begun && now-idle > f.last+clockSlack
	first := !f.begun
	f.begun, f.last = true, now-idle
	switch {
	case f.active && idle < f.quiet:
		// One event is enough to know of; the next that is news comes after a quiet time.
		return inputNext{wait: max(f.quiet-idle, 10*time.Millisecond)}
	case f.active:
		f.active, f.said = false, now
		return inputNext{say: &inputReport{Idle: idle}, listen: true, wait: f.pause()}
	case pushed, touched:
		f.pushes = pushed // what was not pushed this time may not be the next
		f.active, f.said = true, now
		return inputNext{say: &inputReport{Active: true}, wait: f.quiet}
	}
	next := inputNext{listen: true, wait: f.pause()}
	if first || now-f.said >= helperBeat {
		f.said = now
		next.say = &inputReport{Idle: idle}
	}
	return next
}

// clockSlack is how far apart the same input may seem: two steps of the clock by which Windows times it.
const clockSlack = 32 * time.Millisecond

func (f *inputFollow) pause() time.Duration {
	if f.pushes {
		return helperBeat
	}
	return helperPoll
}

// winSession is a session of a user on Windows.
type winSession struct {
	ID     uint32
	Remote bool // by RDP
}

func (s winSession) name() string {
	if s.Remote {
		return fmt.Sprintf("remote session %d", s.ID)
	}
	return fmt.Sprintf("session %d", s.ID)
}

// winSessionsChange says which sessions have come and gone. One that was taken over from afar, or back, is
// another.
func winSessionsChange(before, now []winSession) (came, went []winSession) {
	return without(now, before), without(before, now)
}

func without(all, these []winSession) (rest []winSession) {
next:
	for _, s := range all {
		for _, t := range these {
			if s == t {
				continue next
			}
		}
		rest = append(rest, s)
	}
	return rest
}
