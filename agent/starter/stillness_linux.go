package starter

import "time"

// stillness is what is known of a job that is frozen by signals. A process can thaw itself then, with a timer that sends it
// SIGCONT. So the init looks at it again and again, stops it anew, and ends a job that does it on purpose. It is pure; its
// instants are on the boot clock.
type stillness struct {
	next  time.Duration // when to look again
	pause time.Duration // from the last look till then, or 0

	pending bool // a stop may be pending with processes that stood already: it was sent again

	stood  bool          // all stood still in the last look
	broken int           // how often some went on after that
	moving time.Duration // the first of the looks in a row in which some did, or 0
}

const (
	lookSoon = 100 * time.Millisecond // after the freeze, and after some have gone on
	lookLate = time.Second            // when all have stood still for a while

	brokenMost = 3
	movingMost = freezeLimit // a thread that leaves a system call may take a while
)

// look notes how many threads move, and how many wait for a disk, of which nobody knows whether they would go on. It says
// whether the job must be stopped once more, or ended.
func (s *stillness) look(now time.Duration, moving, waiting int) (again, end bool) {
	switch {
	case moving > 0:
		if s.stood {
			s.broken++
		}
		if s.moving == 0 {
			s.moving = now
		}
		s.stood, s.pause = false, lookSoon
	case waiting == 0:
		s.stood, s.moving = true, 0
		s.pause = min(2*s.pause, lookLate)
	}
	s.pause = max(s.pause, lookSoon)
	s.next = now + s.pause
	return moving > 0, s.broken > brokenMost || s.moving > 0 && now-s.moving >= movingMost
}
