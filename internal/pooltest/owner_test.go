package pooltest_test

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/pooltest"
)

// running submits a job and waits until it runs.
func running(t *testing.T, p *pooltest.Pool, command string) (job.ID, *pooltest.Machine) {
	t.Helper()
	id := p.Submit(t, command)
	p.Await(t, "the job runs", time.Second, time.Minute, func() bool { return p.Running(id) != "" })
	return id, p.Machine(id)
}

func TestBumpedDesk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		p := start(t, pooltest.Config{Machines: 1, Fate: func(_ *rand.Rand, m bus.Packet) bus.Fate {
			if m.To == "matchmaker" {
				sent.Add(1)
			}
			return bus.Fate{}
		}})
		id, m := running(t, p, "sleep 10m")
		time.Sleep(70 * time.Second) // the next renewal is 50 s away
		synctest.Wait()

		told := sent.Load()
		m.Touch()
		if on := p.Running(id); on != "" {
			t.Errorf("at the instant of the first touch the job runs on %s", on)
		}
		time.Sleep(990 * time.Millisecond)
		if on := p.Running(id); on != "" {
			t.Errorf("within the second of the bump the job runs on %s", on)
		}
		time.Sleep(20 * time.Millisecond)
		if on := p.Running(id); on == "" {
			t.Error("after the bump the job stands still")
		}
		if n := sent.Load() - told; n != 0 {
			t.Errorf("the matchmaker was told %d times of a bumped desk", n)
		}
		p.AwaitState(t, id, job.Completed, 10*time.Minute)
		if got, want := p.Events(id), []string{"submitted", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		if n := len(p.Runs(id)); n != 2 {
			t.Errorf("the job ran in %d stretches, want 2", n)
		}
		p.CheckCompleted(t)
	})
}

func TestOwnerLeavesSoonAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 20m")
		time.Sleep(time.Minute)
		m.Type(90 * time.Second)
		p.Check(t)
		p.AwaitState(t, id, job.Suspended, 5*time.Second)
		p.AwaitState(t, id, job.Running, 8*time.Minute) // idle for continue_after
		if now := p.Machine(id); now != m {
			t.Errorf("the job went from %s to %v, though the owner had left within suspend_for", m.Name, now)
		}
		p.AwaitState(t, id, job.Completed, 25*time.Minute)
		if got, want := p.Events(id), []string{"submitted", "started", "paused", "continued", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		p.CheckCompleted(t)
	})
}

func TestOwnerStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 30m")
		time.Sleep(7 * time.Minute)
		back := time.Now()
		m.Type(8 * time.Hour)
		p.Check(t)
		p.AwaitState(t, id, job.Suspended, 5*time.Second)
		p.Await(t, "the job runs elsewhere", time.Second, 11*time.Minute, func() bool {
			p.Check(t)
			on := p.Running(id)
			return on != "" && on != m.Name
		})
		if waited := time.Since(back); waited < 10*time.Minute {
			t.Errorf("the job moved on after %v, want not before suspend_for", waited)
		}
		p.AwaitState(t, id, job.Completed, time.Hour)
		if got, want := p.Events(id), []string{"submitted", "started", "paused", "checkpointed", "evicted", "started", "ended"}; !slices.Equal(got, want) {
			t.Errorf("events are %v, want %v", got, want)
		}
		runs := p.Runs(id)
		if len(runs) != 2 || runs[0].Machine == runs[1].Machine || runs[0].Nonce != runs[1].Nonce {
			t.Errorf("the job ran in %+v, want two stretches of one beginning on two machines", runs)
		}
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice", again)
		}
		p.CheckCompleted(t)
	})
}

// The owner comes back in the middle of every step of a job's start.
func TestOwnerReturnsWhileJobStarts(t *testing.T) {
	for after := time.Duration(0); after <= 12*time.Second; after += 750 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			slow := func(*rand.Rand, bus.Packet) bus.Fate { return bus.Fate{Delay: 400 * time.Millisecond} }
			p := start(t, pooltest.Config{Machines: 2, Fate: slow})
			time.Sleep(10 * time.Second) // the machines are known
			id, first := running(t, p, "sleep 30m")
			first.Type(20 * time.Minute)
			p.Await(t, "the job is on its way elsewhere", 100*time.Millisecond, 15*time.Minute, func() bool {
				m := p.Machine(id)
				return m != nil && m != first
			})
			second := p.Machine(id)
			time.Sleep(after)
			second.Type(time.Minute)
			for range 80 {
				p.Check(t)
				time.Sleep(100 * time.Millisecond)
			}
			p.AwaitState(t, id, job.Completed, 3*time.Hour)
			if again := p.RepeatedWork(id); again != 0 {
				t.Errorf("owner returns %v after the offer: %v of work were done twice: %v", after, again, p.Events(id))
			}
			p.CheckCompleted(t)
		})
	}
}

// The owner comes back in the middle of the start of a job that needs nothing brought in.
func TestOwnerReturnsWhileNewJobStarts(t *testing.T) {
	for after := time.Duration(0); after <= 3*time.Second; after += 150 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			slow := func(*rand.Rand, bus.Packet) bus.Fate { return bus.Fate{Delay: 400 * time.Millisecond} }
			p := start(t, pooltest.Config{Machines: 1, Fate: slow})
			time.Sleep(10 * time.Second) // the machine is known
			go func() {
				time.Sleep(after)
				p.Machines()[0].Type(time.Minute)
			}()
			id := p.Submit(t, "sleep 10m")
			for range 60 {
				p.Check(t)
				time.Sleep(50 * time.Millisecond)
			}
			if t.Failed() {
				t.Fatalf("the owner returns %v after the submit: %v", after, p.Events(id))
			}
			p.AwaitState(t, id, job.Completed, 3*time.Hour)
			p.CheckCompleted(t)
		})
	}
}
