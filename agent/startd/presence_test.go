package startd

import (
	"context"
	"testing"
	"time"
)

// handWatcher is an owner whose last input is set by hand.
type handWatcher struct{ last time.Time }

func (w *handWatcher) Run(ctx context.Context) error    { <-ctx.Done(); return nil }
func (w *handWatcher) Settle(context.Context)           {}
func (w *handWatcher) Idle(now time.Time) time.Duration { return now.Sub(w.last) }
func (w *handWatcher) ConsoleIdle(now time.Time) (time.Duration, bool) {
	return w.Idle(now), true
}

func TestPresence(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	w := &handWatcher{last: at(-time.Hour)}
	p := newPresence(time.Second)
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

	// A second touch that is followed up is the owner.
	w.last = at(20 * time.Second)
	p.touch(at(20 * time.Second))
	w.last = at(20*time.Second + 900*time.Millisecond)
	if stayed, ok := p.judge(at(21 * time.Second)); !ok || !stayed {
		t.Errorf("judged %v, %v after a second of typing", stayed, ok)
	}
	idle(at(31*time.Second), 10*time.Second)
	if _, ok := p.due(); ok {
		t.Error("there is still something to judge")
	}
}

func TestPresenceWithoutOwner(t *testing.T) {
	if _, ok := newPresence(time.Second).idle(time.Now()); ok {
		t.Error("a machine without a watcher has an idle time")
	}
}
