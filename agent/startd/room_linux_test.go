package startd

import (
	"os"
	"path/filepath"
	"strings"
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

// busyOffice is a desk with an owner, beside whom jobs go on.
type busyOffice struct {
	*desk
	left atomic.Int64 // by the owner's programs, of processors
}

func newBusyOffice(t *testing.T) *busyOffice {
	t.Helper()
	if deskCan().Freezer != "cgroup2" {
		t.Skip("without a cgroup nobody knows what a job uses of the processors")
	}
	office, err := policy.Derive(policy.File{Preset: policy.Office})
	if err != nil {
		t.Fatal(err)
	}
	o := &busyOffice{}
	began := time.Now()
	o.desk = newDesk(t, func(c *Config) {
		c.Policy = office
		c.Watch = func(Signs) (Owner, error) { return present{}, nil }
		c.IdleTime = func() (time.Duration, error) { return time.Duration(o.left.Load()) * time.Since(began), nil }
	})
	return o
}

// told waits until a renewal that is still to come says why the job is paused.
func (o *busyOffice) told(why string) {
	o.t.Helper()
	o.mu.Lock()
	from := len(o.renews)
	o.mu.Unlock()
	o.await("a renewal says that it is paused because of "+why, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.renews) > from && o.renews[len(o.renews)-1].Paused == why
	})
}

// A job that is throttled stands still while the owner's programs want all processors, and goes on when they do not.
func TestMakesRoom(t *testing.T) {
	o := newBusyOffice(t)
	ref := o.offer("while :; do echo step; sleep 0.01; done", "")
	size := func() int64 { return o.peek(ref, wire.Peek{File: job.StdoutFile}).Size }
	o.prints(ref, "step")
	for range 2 {
		o.left.Store(-4)
		o.told(noRoom)
		o.told(noRoom)
		stood := size()
		o.told(noRoom)
		if now := size(); now != stood {
			t.Errorf("it has written %d bytes meanwhile", now-stood)
		}
		if s := o.daemon.keepers[0].status(); !s.Still || s.Why != noRoom {
			t.Errorf("the person at the machine is told %+v", s)
		}
		o.left.Store(4)
		o.told("")
		o.await("the job goes on", func() bool { return size() > stood })
	}
}

// A job that stands still for the owner's programs hears that it must end, and does.
func TestFarewellWithoutRoom(t *testing.T) {
	o := newBusyOffice(t)
	ref := o.offer(`trap "echo ended > /scratch/log; exit" INT; echo up; while :; do sleep 0.05; done`, `RemoveKillSig = "SIGINT"`)
	o.prints(ref, "up")
	o.left.Store(-4)
	o.told(noRoom)
	in := *o.daemon.keepers[0].tenant.running.Load()
	wrote := make(chan string, 1)
	go func() {
		<-in.Done()
		log, _ := os.ReadFile(filepath.Join(in.Scratch(), "log")) // none is an error below
		wrote <- strings.TrimSpace(string(log))
	}()
	o.control(ref, wire.Control{Do: wire.KillClaim, For: wire.ForRemove})
	if got := <-wrote; got != "ended" {
		t.Errorf("the job wrote %q", got)
	}
}
