package pooltest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
)

// A job that its user suspends stands still, whatever its machine's owner and its agent do, and goes on
// where it stood.
func TestUserSuspends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1})
		desk := p.Machines()[0]
		id := p.Submit(t, "sleep 1h")
		p.Await(t, "it runs", time.Second, time.Hour, func() bool { return p.Running(id) != "" })
		time.Sleep(10 * time.Minute)
		p.Act(t, wire.Suspend, id)
		p.AwaitState(t, id, job.Suspended, time.Minute)
		if where := p.Running(id); where != "" {
			t.Errorf("the suspended job runs on %s", where)
		}
		if why := p.Job(id).LastReason; why != wire.PausedByUser {
			t.Errorf("it is suspended because %q", why)
		}
		desk.Type(30 * time.Minute)
		time.Sleep(2 * time.Hour) // the owner comes, stays, and goes
		desk.KillAgent()
		time.Sleep(time.Minute)
		desk.StartAgent()
		time.Sleep(time.Hour)
		if where := p.Running(id); where != "" || p.State(id) != job.Suspended {
			t.Errorf("the suspended job is %v and runs on %q", p.State(id), where)
		}
		p.Act(t, wire.Continue, id)
		p.AwaitState(t, id, job.Running, time.Minute)
		p.AwaitState(t, id, job.Completed, 2*time.Hour)
		p.CheckCompleted(t)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of its work were done again", again)
		}
	})
}

// A user has a job leave its machine: with its work, or at once and without.
func TestUserHasItLeave(t *testing.T) {
	for _, tt := range []struct {
		do    wire.ActionVerb
		saved bool
	}{{wire.Vacate, true}, {wire.Evict, false}} {
		t.Run(string(tt.do), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pooltest.Start(t, pooltest.Config{Machines: 2})
				id := p.Submit(t, "sleep 1h")
				p.Await(t, "it runs", time.Second, time.Hour, func() bool { return p.Running(id) != "" })
				time.Sleep(10 * time.Minute)
				p.Act(t, tt.do, id)
				p.Await(t, "it has left", time.Second, 10*time.Minute, func() bool { return slices.Contains(p.Events(id), "evicted") })
				if saved := slices.Contains(p.Events(id), "checkpointed"); saved != tt.saved {
					t.Errorf("its events are %v", p.Events(id))
				}
				p.AwaitState(t, id, job.Completed, 3*time.Hour)
				p.CheckCompleted(t)
				if again := p.RepeatedWork(id); tt.saved != (again < time.Minute) {
					t.Errorf("%v of its work were done again", again)
				}
			})
		})
	}
}

// What a machine missed while its cable was out it is told afterwards.
func TestSuspendReachesAMachineThatWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1, Lease: time.Hour})
		desk := p.Machines()[0]
		id := p.Submit(t, "sleep 5h")
		p.Await(t, "it runs", time.Second, time.Hour, func() bool { return p.Running(id) != "" })
		desk.PullTheCable()
		p.Act(t, wire.Suspend, id)
		time.Sleep(10 * time.Minute)
		if p.Running(id) == "" {
			t.Error("the job stands still though nobody could tell it to")
		}
		desk.PlugIn()
		p.AwaitState(t, id, job.Suspended, 10*time.Minute)
	})
}

// A job that its user has let go on waits for the owner all the same.
func TestContinuedJobWaitsForTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 1})
		desk := p.Machines()[0]
		id := p.Submit(t, "sleep 1h")
		p.Await(t, "it runs", time.Second, time.Hour, func() bool { return p.Running(id) != "" })
		p.Act(t, wire.Suspend, id)
		p.AwaitState(t, id, job.Suspended, time.Minute)
		desk.Type(5 * time.Minute)
		time.Sleep(4 * time.Minute)
		p.Act(t, wire.Continue, id)
		time.Sleep(time.Minute + 2*time.Second)
		if where := p.Running(id); where != "" {
			t.Error("it runs while the owner is there")
		}
		p.AwaitState(t, id, job.Completed, 2*time.Hour)
		p.CheckCompleted(t)
	})
}

// A suspended job that is made to leave goes on elsewhere: the pause was that claim's.
func TestSuspendedJobIsVacated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pooltest.Start(t, pooltest.Config{Machines: 2})
		id := p.Submit(t, "sleep 1h")
		p.Await(t, "it runs", time.Second, time.Hour, func() bool { return p.Running(id) != "" })
		first := p.Running(id)
		time.Sleep(20 * time.Minute)
		p.Act(t, wire.Suspend, id)
		p.AwaitState(t, id, job.Suspended, time.Minute)
		time.Sleep(time.Hour)
		p.Act(t, wire.Vacate, id)
		p.Await(t, "it runs elsewhere", time.Second, 10*time.Minute, func() bool { r := p.Running(id); return r != "" && r != first })
		p.AwaitState(t, id, job.Completed, time.Hour)
		p.CheckCompleted(t)
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of its work were done again", again)
		}
	})
}
