package startd

import (
	"context"
	"testing"
	"time"

	"skua/agent/probe"
	"skua/internal/job"
	"skua/internal/wire"
)

// absent is an owner who never comes.
type absent struct{}

func (absent) Run(ctx context.Context) error               { <-ctx.Done(); return nil }
func (absent) Settle(context.Context)                      {}
func (absent) Idle(time.Time) time.Duration                { return time.Hour }
func (absent) ConsoleIdle(time.Time) (time.Duration, bool) { return time.Hour, true }
func (absent) Unseen() []probe.SourceState                 { return nil }

// When the machine may go to sleep its job stands still, and after the sleep it goes on.
func TestSleep(t *testing.T) {
	var signs Signs
	d := newDesk(t, func(c *Config) {
		c.Watch = func(on Signs) (Owner, error) {
			signs = on
			return absent{}, nil
		}
	})
	ref := d.offer("while :; do echo step; sleep 0.01; done", "")
	size := func() int64 { return d.peek(ref, wire.Peek{File: job.StdoutFile}).Size }
	d.prints(ref, "step")
	k := d.daemon.keepers[0]
	for range 2 {
		signs.Sleep(true)
		if s := k.state(); !s.Frozen() || !s.Asleep {
			t.Errorf("as the machine goes to sleep the slot is %v, frozen %v", s, s.Frozen())
		}
		stood := size()
		signs.Sleep(false)
		if s := k.state(); s.Frozen() || s.Asleep {
			t.Errorf("awake again the slot is %v, frozen %v", s, s.Frozen())
		}
		d.await("the job goes on after the sleep", func() bool { return size() > stood })
	}
}
