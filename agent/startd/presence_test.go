package startd

import (
	"context"
	"testing"
	"time"

	"skua/agent/probe"
)

// handWatcher is an owner whose last input is set by hand.
type handWatcher struct {
	last   time.Time
	unseen []probe.SourceState
}

func (w *handWatcher) Run(ctx context.Context) error    { <-ctx.Done(); return nil }
func (w *handWatcher) Settle(context.Context)           {}
func (w *handWatcher) Idle(now time.Time) time.Duration { return now.Sub(w.last) }
func (w *handWatcher) ConsoleIdle(now time.Time) (time.Duration, bool) {
	return w.Idle(now), true
}
func (w *handWatcher) Unseen() []probe.SourceState { return w.unseen }

func TestPresence(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	w := &handWatcher{last: at(-time.Hour)}
	p := newPresence(time.Second, func() time.Duration { return 5 * time.Minute })
	p.watcher = w
	idle := func(now time.Time, want time.Duration) {
		t.Helper()
		if got, ok := p.idle(now); !ok || got.Round(time.Second) != want {
			t.Errorf("at %v the owner is idle for %v, want %v", now.Sub(noon), got, want)
		}
	}
	idle(noon, time.Hour)

	// One press of a key and its release: nothing is decided for a second, then it was a bump.
	w.last = at(0)
	p.touch(at(0))
	w.last = at(80 * time.Millisecond)
	idle(at(400*time.Millisecond), time.Hour)
	if _, ok := p.judge(at(900 * time.Millisecond)); ok {
		t.Error("judged before the second was over")
	}
	if stayed, ok := p.judge(at(time.Second)); !ok || stayed {
		t.Errorf("judged %v, %v after one key", stayed, ok)
	}
	idle(at(10*time.Second), time.Hour+10*time.Second)

	// A touch that is followed up is the owner.
	w.last = at(6 * time.Minute)
	p.touch(at(6 * time.Minute))
	w.last = at(6*time.Minute + 900*time.Millisecond)
	if stayed, ok := p.judge(at(6*time.Minute + time.Second)); !ok || !stayed {
		t.Errorf("judged %v, %v after a second of typing", stayed, ok)
	}
	idle(at(6*time.Minute+11*time.Second), 10*time.Second)
	if _, ok := p.due(); ok {
		t.Error("there is still something to judge")
	}
}

// TestReader has an owner press single keys, as one does who reads.
func TestReader(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	w := &handWatcher{last: noon.Add(-time.Hour)}
	p := newPresence(time.Second, func() time.Duration { return 5 * time.Minute })
	p.watcher = w
	p.idle(noon)
	press := func(at time.Duration) (stayed bool) {
		t.Helper()
		w.last = noon.Add(at)
		p.touch(w.last)
		w.last = w.last.Add(80 * time.Millisecond)
		stayed, ok := p.judge(noon.Add(at + time.Second))
		if !ok {
			t.Errorf("the press after %v is not judged", at)
		}
		return stayed
	}
	for _, c := range []struct {
		at     time.Duration
		stayed bool
	}{
		{0, false},
		{40 * time.Second, true},            // after another press
		{5 * time.Minute, true},             // after the owner was there
		{9*time.Minute + time.Second, true}, // the same
		{20 * time.Minute, false},
		{30 * time.Minute, false}, // long after a bump
	} {
		if got := press(c.at); got != c.stayed {
			t.Errorf("the press after %v is the owner: %v, want %v", c.at, got, c.stayed)
		}
	}
}

func TestPresenceWithoutOwner(t *testing.T) {
	if _, ok := newPresence(time.Second, nil).idle(time.Now()); ok {
		t.Error("a machine without a watcher has an idle time")
	}
}
