package pooltest_test

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
)

// An agent that is started again with fewer slots says at once that the job of the other one has to run again: nobody
// waits for the lease.
func TestJobOfASlotThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1, Slots: 2})
		ids := p.SubmitN(t, "sleep 30m", 2)
		for _, id := range ids {
			p.AwaitState(t, id, job.Running, time.Minute)
		}
		m := p.Machines()[0]
		m.KillAgent()
		m.SetSlots(1)
		m.StartAgent()
		p.Await(t, "one of the jobs waits again", time.Second, 30*time.Second, func() bool {
			return p.State(ids[0]) == job.Idle || p.State(ids[1]) == job.Idle
		})
		p.Await(t, "all jobs have completed", time.Minute, 3*time.Hour, func() bool { p.Check(t); return allCompleted(p, ids) })
		p.CheckCompleted(t)
	})
}

// What a job came to is not lost with its slot.
func TestResultOfASlotThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deaf atomic.Bool // nobody hears reports
		p := start(t, pooltest.Config{Machines: 1, Slots: 2, Fate: func(_ *rand.Rand, m bus.Packet) bus.Fate {
			return bus.Fate{Drop: deaf.Load() && strings.HasSuffix(m.Subject, "."+wire.VerbDone)}
		}})
		ids := p.SubmitN(t, "sleep 10m", 2)
		for _, id := range ids {
			p.AwaitState(t, id, job.Running, time.Minute)
		}
		deaf.Store(true)
		time.Sleep(11 * time.Minute)
		m := p.Machines()[0]
		m.KillAgent()
		m.SetSlots(1)
		m.StartAgent()
		time.Sleep(10 * time.Second)
		deaf.Store(false)
		p.Await(t, "all jobs have completed", time.Second, 2*time.Minute, func() bool { p.Check(t); return allCompleted(p, ids) })
		for _, id := range ids {
			if n := p.Job(id).Starts; n != 1 {
				t.Errorf("job %v was started %d times", id, n)
			}
		}
		p.CheckCompleted(t)
	})
}
