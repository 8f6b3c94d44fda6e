package startd

import (
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
)

// present is an owner who is at the machine all the time.
type present struct{ absent }

func (present) Idle(time.Time) time.Duration                { return 0 }
func (present) ConsoleIdle(time.Time) (time.Duration, bool) { return 0, true }

// A job that is throttled stands still while the owner's programs want all processors, and goes on when they do not.
func TestMakesRoom(t *testing.T) {
	office, err := policy.Derive(policy.File{Preset: policy.Office})
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64 // by the owner's programs, of processors
	began := time.Now()
	d := newDesk(t, func(c *Config) {
		c.Policy = office
		c.Watch = func(Signs) (Owner, error) { return present{}, nil }
		c.IdleTime = func() (time.Duration, error) { return time.Duration(left.Load()) * time.Since(began), nil }
	})
	if deskCan().Freezer != "cgroup2" {
		t.Skip("without a cgroup nobody knows what a job uses of the processors")
	}
	ref := d.offer("while :; do echo step; sleep 0.01; done", "")
	size := func() int64 { return d.peek(ref, wire.Peek{File: job.StdoutFile}).Size }
	told := func(why string) {
		t.Helper()
		d.mu.Lock()
		from := len(d.renews)
		d.mu.Unlock()
		d.await("a renewal says that it is paused because of "+why, func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.renews) > from && d.renews[len(d.renews)-1].Paused == why
		})
	}
	d.prints(ref, "step")
	const why = "the owner's programs use all processors of the machine"
	for range 2 {
		left.Store(-4)
		told(why)
		told(why)
		stood := size()
		told(why)
		if now := size(); now != stood {
			t.Errorf("it has written %d bytes meanwhile", now-stood)
		}
		left.Store(4)
		told("")
		d.await("the job goes on", func() bool { return size() > stood })
	}
}
