package starter

import (
	"testing"
	"time"
)

func TestStillness(t *testing.T) {
	type look struct{ moving, waiting int }
	repeat := func(n int, l ...look) (all []look) {
		for range n {
			all = append(all, l...)
		}
		return all
	}
	const movedMost = int(movingMost / lookSoon)
	for _, tt := range []struct {
		name  string
		looks []look
		end   bool
	}{
		{"it stands still", repeat(1000, look{0, 0}), false},
		{"a thread leaves a long system call", append(repeat(movedMost, look{1, 1}), look{0, 0}), false},
		{"a thread waits for a disk that does not answer", repeat(1000, look{0, 1}), false},
		{"some go on now and then", repeat(brokenMost, look{0, 0}, look{2, 2}), false},
		{"they do it again", repeat(brokenMost+1, look{0, 0}, look{2, 2}), true},
		{"they are never seen to stand still", repeat(movedMost+1, look{1, 1}), true},
		{"nor between waits for a disk", repeat(movedMost+1, look{1, 2}, look{0, 1}), true},
	} {
		s, now, end := stillness{next: lookSoon}, time.Duration(0), false
		for _, l := range tt.looks {
			now = s.next
			var again bool
			if again, end = s.look(now, l.moving, l.waiting); again != (l.moving > 0) {
				t.Errorf("%s: %d threads move and are stopped: %v", tt.name, l.moving, again)
			}
			if pause := s.next - now; pause < lookSoon || pause > lookLate || l.moving > 0 && pause != lookSoon {
				t.Errorf("%s: the next look is in %v", tt.name, pause)
			}
		}
		if end != tt.end {
			t.Errorf("%s: in the end it is ended: %v", tt.name, end)
		}
	}
}
