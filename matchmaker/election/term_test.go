package election

import (
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return noon.Add(d) }

// Of a key that lives for 8 s: a leader stops after 7 s, and renews after 2 2/3 s.
const ttl = 8 * time.Second

func TestStep(t *testing.T) {
	standby := State{TTL: ttl, Due: noon}
	asking := State{TTL: ttl, Due: noon, Asking: true}
	leader := State{TTL: ttl, Leads: true, Revision: 5, Until: at(7 * time.Second), Due: at(ttl / 3)}
	renewing := leader
	renewing.Asking = true
	for _, tt := range []struct {
		name    string
		from    State
		event   Event
		leads   bool
		effects []Effect
		until   time.Duration // after noon, of a leader
		next    time.Duration // after noon; -1 for never
	}{
		{"standby asks when it is due", standby, Tick{at(0)}, false, []Effect{Create}, 0, -1},
		{"... not before", standby, Tick{at(-1)}, false, nil, 0, 0},
		{"... one request at a time", asking, Tick{at(time.Hour)}, false, nil, 0, -1},
		{"the key is created: lead, from when it was sent", asking, Answer{at(0), at(time.Second), Ours, 5}, true, []Effect{Lead}, 7 * time.Second, ttl / 3},
		{"created, but the answer took too long", asking, Answer{at(0), at(7 * time.Second), Ours, 5}, false, []Effect{Release}, 0, 7*time.Second + ttl/10},
		{"another leads", asking, Answer{at(0), at(time.Second), Theirs, 0}, false, nil, 0, time.Second + ttl/10},
		{"nobody answers", asking, Answer{at(0), at(time.Second), Unknown, 0}, false, nil, 0, time.Second + ttl/10},
		{"the key is ours, since nobody knows when", asking, Answer{at(0), at(time.Second), Found, 9}, false, []Effect{Release}, 0, time.Second + ttl/10},

		{"leader renews when it is due", leader, Tick{at(ttl / 3)}, true, []Effect{Renew}, 7 * time.Second, 7 * time.Second},
		{"... not before", leader, Tick{at(time.Second)}, true, nil, 7 * time.Second, ttl / 3},
		{"renewed: lead on, from when it was sent", renewing, Answer{at(3 * time.Second), at(4 * time.Second), Ours, 6}, true, nil, 10 * time.Second, 3*time.Second + ttl/3},
		{"no answer: ask again soon, and the end stays", renewing, Answer{at(3 * time.Second), at(6 * time.Second), Unknown, 0}, true, nil, 7 * time.Second, 6*time.Second + ttl/24},
		{"an answer was lost: the end stays", renewing, Answer{at(3 * time.Second), at(4 * time.Second), Found, 7}, true, nil, 7 * time.Second, 4*time.Second + ttl/24},
		{"the key is another's: stop", renewing, Answer{at(3 * time.Second), at(4 * time.Second), Theirs, 0}, false, []Effect{Stop}, 0, 4*time.Second + ttl/10},
		{"the time is over: stop", leader, Tick{at(7 * time.Second)}, false, []Effect{Stop}, 0, 7*time.Second + ttl/10},
		{"... also while asking", renewing, Tick{at(7 * time.Second)}, false, []Effect{Stop}, 0, -1},
		{"leading ends by itself: others first", leader, Ended{at(time.Second)}, false, []Effect{Release}, 0, time.Second + ttl/5},
		{"standing by ends by itself", standby, Ended{at(time.Second)}, false, nil, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, effects := tt.from.Step(tt.event)
			if got.Leads != tt.leads || !slices.Equal(effects, tt.effects) {
				t.Errorf("leads %v, effects %v, want %v, %v", got.Leads, effects, tt.leads, tt.effects)
			}
			if tt.leads && !got.Until.Equal(at(tt.until)) {
				t.Errorf("it leads until %v, want %v", got.Until.Sub(noon), tt.until)
			}
			if next := got.Next(); tt.next < 0 != next.IsZero() || tt.next >= 0 && !next.Equal(at(tt.next)) {
				t.Errorf("the next tick is due at %v, want %v", next.Sub(noon), tt.next)
			}
		})
	}
}

// A renewal that was sent by a leader which has stopped since arrives: the key is given back.
func TestLateRenewal(t *testing.T) {
	s := State{TTL: ttl, Leads: true, Asking: true, Revision: 5, Until: at(7 * time.Second)}
	s, _ = s.Step(Tick{at(7 * time.Second)})
	s, effects := s.Step(Answer{Sent: at(3 * time.Second), At: at(10 * time.Second), Outcome: Ours, Revision: 6})
	if s.Leads || !slices.Equal(effects, []Effect{Release}) || s.Revision != 6 {
		t.Errorf("leads %v, effects %v, revision %d", s.Leads, effects, s.Revision)
	}
}
