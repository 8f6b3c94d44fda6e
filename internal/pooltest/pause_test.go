package pooltest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/control"
	"skua/internal/job"
	"skua/internal/pooltest"
	"skua/internal/wire"
	"skua/policy"
)

func wish(t *testing.T, m *pooltest.Machine, kind control.Kind, long time.Duration) {
	t.Helper()
	w := control.Wish{}
	if kind != control.Resume {
		w = control.Wish{Kind: kind, At: time.Now(), Until: time.Now().Add(long), By: "mira"}
	}
	m.Daemon().Heed(w)
	synctest.Wait()
}

// A long pause freezes the job in the same instant and has it leave; it goes on elsewhere, and nothing comes until the pause
// is over.
func TestLongPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 2})
		id, m := running(t, p, "sleep 30m")
		time.Sleep(7 * time.Minute)
		wish(t, m, control.Pause, 2*time.Hour)
		if on := p.Running(id); on != "" {
			t.Errorf("at the instant of the pause the job runs on %s", on)
		}
		if s := m.Daemon().Status(time.Now()); s.Wish.Kind != control.Pause || !strings.Contains(s.Slots[0].Why, "mira paused") {
			t.Errorf("status is %+v", s)
		}
		p.Await(t, "the job runs elsewhere", time.Second, time.Minute, func() bool {
			p.Check(t)
			on := p.Running(id)
			return on != "" && on != m.Name
		})
		second := p.Submit(t, "sleep 5m")
		p.AwaitState(t, id, job.Completed, time.Hour)
		p.AwaitState(t, second, job.Completed, time.Hour)
		for _, run := range p.Runs(second) {
			if run.Machine == m.Name {
				t.Error("a job came to the machine that is paused")
			}
		}
		if again := p.RepeatedWork(id); again != 0 {
			t.Errorf("%v of work were done twice", again)
		}
		p.CheckCompleted(t)
	})
}

// A job that its user has suspended leaves for a long pause like any other, and for the end of the hours during a short
// one; otherwise a short pause does not move it.
func TestPauseOfASuspendedJob(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hours  bool // end an hour after the start
		long   time.Duration
		leaves bool
	}{
		{"long", false, 2 * time.Hour, true},
		{"short", false, 8 * time.Minute, false},
		{"short, and the hours end", true, 8 * time.Minute, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var rules policy.File
				if tt.hours {
					const day = 24 * 60
					end := (began.Hour()*60+began.Minute()+59)%day + 1
					rules.Hours.Run = []policy.Span{{Days: [7]bool{true, true, true, true, true, true, true}, From: (end + day/2) % day, To: end}}
				}
				p := start(t, pooltest.Config{Machines: 1, Policy: rules})
				id, m := running(t, p, "sleep 3h")
				p.Act(t, wire.Suspend, id)
				p.AwaitState(t, id, job.Suspended, time.Minute)
				time.Sleep(time.Until(began.Add(55 * time.Minute)))
				wish(t, m, control.Pause, tt.long)
				time.Sleep(7 * time.Minute)
				if left := p.State(id) == job.Idle; left != tt.leaves {
					t.Errorf("the job is %v", p.State(id))
				}
				p.Check(t)
			})
		})
	}
}

// A short pause is sat out: the job stays, frozen, and goes on when the pause is over or taken back.
func TestShortPause(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := start(t, pooltest.Config{Machines: 1})
			id, m := running(t, p, "sleep 30m")
			time.Sleep(time.Minute)
			wish(t, m, control.Pause, 8*time.Minute)
			time.Sleep(4 * time.Minute)
			synctest.Wait()
			if on := p.Running(id); on != "" {
				t.Errorf("in the middle of the pause the job runs on %s", on)
			}
			left := 4*time.Minute + 30*time.Second
			if resumed {
				wish(t, m, control.Resume, 0)
				left = 15 * time.Second
			}
			p.Await(t, "the job goes on", time.Second, left, func() bool { return p.Running(id) == m.Name })
			p.AwaitState(t, id, job.Completed, time.Hour)
			if n := len(p.Runs(id)); n != 2 {
				t.Errorf("the job ran in %d stretches, want 2", n)
			}
			p.CheckCompleted(t)
		})
	}
}

// Finish lets the job end, and the next waits. A pause outlives the agent.
func TestFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, pooltest.Config{Machines: 1})
		id, m := running(t, p, "sleep 10m")
		wish(t, m, control.Finish, 2*time.Hour)
		second := p.Submit(t, "sleep 5m")
		p.AwaitState(t, id, job.Completed, 11*time.Minute)
		if n := len(p.Runs(id)); n != 1 {
			t.Errorf("the job ran in %d stretches, want 1", n)
		}
		m.KillAgent()
		m.StartAgent()
		time.Sleep(90 * time.Minute)
		synctest.Wait()
		if s := p.State(second); s != job.Idle {
			t.Errorf("the next job is %v, want it to wait", s)
		}
		p.AwaitState(t, second, job.Completed, time.Hour)
		p.CheckCompleted(t)
	})
}
