package pooltest_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
)

// went counts the jobs whose claim came with the answer to the report of the one before.
func went(p *pooltest.Pool, ids []job.ID) (n int) {
	for _, id := range ids {
		if p.Given(id) {
			n++
		}
	}
	return n
}

func allCompleted(p *pooltest.Pool, ids []job.ID) bool {
	for _, id := range ids {
		if p.State(id) != job.Completed {
			return false
		}
	}
	return true
}

func TestSlotGoesOnWithItsUsersJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		ids := p.SubmitN(t, "sleep 5s", 20)
		p.Await(t, "all jobs have completed", time.Second, 10*time.Minute, func() bool { p.Check(t); return allCompleted(p, ids) })
		if n := went(p, ids); n < len(ids)/2 {
			t.Errorf("of %d jobs %d came with the answer to a report", len(ids), n)
		}
		for _, id := range ids {
			if j := p.Job(id); j.Starts != 1 || j.Evictions != 0 {
				t.Errorf("job %v was started %d times and evicted %d times", id, j.Starts, j.Evictions)
			}
		}
		p.CheckCompleted(t)
	})
}

// Answers are lost, come twice and come late: no job is lost, none runs twice.
func TestSlotGoesOnOverABadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 3, Seed: 5, Fate: rough})
		ids := p.SubmitN(t, "sleep 7s", 60)
		p.Await(t, "all jobs have completed", time.Second, time.Hour, func() bool { p.Check(t); return allCompleted(p, ids) })
		if n := went(p, ids); n == 0 {
			t.Error("no job came with the answer to a report")
		}
		p.CheckCompleted(t)
	})
}

// slow is a network on which every message takes its time.
func slow(_ *rand.Rand, _ bus.Packet) bus.Fate { return bus.Fate{Delay: 20 * time.Millisecond} }

// The second job of a claim is as good as any: it survives whatever happens around it.
func TestBetweenTwoJobsOfAClaim(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, p *pooltest.Pool, m *pooltest.Machine, second job.ID)
	}{
		{"the agent is killed", func(_ *testing.T, _ *pooltest.Pool, m *pooltest.Machine, _ job.ID) {
			m.KillAgent()
			time.Sleep(5 * time.Second)
			m.StartAgent()
		}},
		{"the agent is stopped in order", func(_ *testing.T, _ *pooltest.Pool, m *pooltest.Machine, _ job.ID) {
			m.StopAgent()
			m.StartAgent()
		}},
		{"the matchmaker is killed", func(_ *testing.T, p *pooltest.Pool, _ *pooltest.Machine, _ job.ID) {
			p.RestartMatchmaker(5 * time.Second)
		}},
		{"the machine loses its power", func(_ *testing.T, _ *pooltest.Pool, m *pooltest.Machine, _ job.ID) {
			m.Crash()
			time.Sleep(time.Minute)
			m.Restart()
			m.StartAgent()
		}},
		{"the network is cut", func(_ *testing.T, _ *pooltest.Pool, m *pooltest.Machine, _ job.ID) {
			m.PullTheCable()
			time.Sleep(30 * time.Second)
			m.PlugIn()
		}},
		{"the job is told to leave", func(t *testing.T, p *pooltest.Pool, _ *pooltest.Machine, second job.ID) {
			if p.State(second) == job.Running {
				p.Act(t, wire.Vacate, second)
			}
		}},
		{"the owner comes", func(_ *testing.T, _ *pooltest.Pool, m *pooltest.Machine, _ job.ID) { m.Type(20 * time.Second) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Right at the end of the first job, and at several moments around it.
			for _, after := range []time.Duration{-time.Millisecond, 0, time.Millisecond, 300 * time.Millisecond, 4 * time.Second, 11 * time.Second} {
				synctest.Test(t, func(t *testing.T) {
					p := start(t, pooltest.Config{Machines: 1, Seed: 3, Fate: slow})
					ids := p.SubmitN(t, "sleep 30s", 3)
					p.AwaitState(t, ids[0], job.Running, time.Minute)
					p.Await(t, "the first job runs", 10*time.Millisecond, time.Minute, func() bool { return p.Running(ids[0]) != "" })
					time.Sleep(30*time.Second + after)
					p.Check(t)
					tt.do(t, p, p.Machines()[0], ids[1])
					p.Await(t, "all jobs have completed", time.Second, 4*time.Hour, func() bool { p.Check(t); return allCompleted(p, ids) })
					p.CheckCompleted(t)
				})
			}
		})
	}
}
