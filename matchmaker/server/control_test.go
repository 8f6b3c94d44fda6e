package server

import (
	"encoding/json"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

// control takes the control message that must have come. Whether it has its claim, an agent may be asked at any time.
func (a *agent) control() wire.Control {
	a.t.Helper()
	for {
		select {
		case c := <-a.controls:
			if c.Do != wire.ConfirmClaim {
				return c
			}
		default:
			a.t.Fatalf("agent %s was told nothing", a.id)
		}
	}
}

func TestSuspendAndContinue(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(2, "")
		o := desk.offered()
		if r := ann.act(wire.Suspend, id); r.Not["1.0"] != "it is not running" {
			t.Errorf("suspending an idle job got %+v", r)
		}
		desk.accept(o)
		if r := ann.act(wire.Continue, id); r.Not["1.0"] != "it is not suspended" {
			t.Errorf("continuing a job that runs got %+v", r)
		}
		if r := ann.act(wire.Suspend, id); len(r.Done) != 1 {
			t.Fatalf("suspending got %+v", r)
		}
		if c := desk.control(); c.Do != wire.SuspendClaim || c.ClaimRef != refOf(o) {
			t.Errorf("the agent was told %+v", c)
		}
		if g := desk.renew(o, ""); g.Do != wire.SuspendClaim {
			t.Errorf("an agent that may have missed it was granted %+v", g)
		}
		desk.renew(o, wire.PausedByUser)
		p.wantState(id, job.Suspended)
		if r := ann.act(wire.Continue, id); len(r.Done) != 1 {
			t.Fatalf("continuing got %+v", r)
		}
		if c := desk.control(); c.Do != wire.ContinueClaim {
			t.Errorf("the agent was told %+v", c)
		}
		if g := desk.renew(o, wire.PausedByUser); g.Do != wire.ContinueClaim {
			t.Errorf("an agent that may have missed it was granted %+v", g)
		}
		if g := desk.renew(o, ""); g.Do != "" {
			t.Errorf("once the job goes on, the agent is still told to %s", g.Do)
		}
		p.wantState(id, job.Running)

		desk.renew(o, "the owner is back")
		if r := ann.act(wire.Continue, id); r.Not["1.0"] != "its machine has suspended it (the owner is back), and lets it go on by itself" {
			t.Errorf("continuing a job that its machine has suspended got %+v", r)
		}
		ann.act(wire.HoldJob, id)
		if r := ann.act(wire.Suspend, id); r.Not["1.0"] != "it is held" {
			t.Errorf("suspending a held job got %+v", r)
		}
	})
}

// What the user has asked of a job outlives the matchmaker, because the agent knows it.
func TestContinueAfterRestart(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		ann.act(wire.Suspend, id)
		desk.renew(o, wire.PausedByUser)
		p.stop()
		p.run()
		if r := ann.act(wire.Continue, id); len(r.Done) != 1 {
			t.Errorf("continuing got %+v", r)
		}
	})
}

func TestVacate(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		if r := ann.act(wire.Vacate, id); len(r.Done) != 1 {
			t.Fatalf("vacating got %+v", r)
		}
		if c := desk.control(); c.Do != wire.VacateClaim {
			t.Errorf("the agent was told %+v", c)
		}
		if r := ann.act(wire.Suspend, id); r.Not["1.0"] != "it is about to leave its machine" {
			t.Errorf("suspending it then got %+v", r)
		}
		if r := ann.act(wire.Evict, id); len(r.Done) != 1 {
			t.Errorf("evicting it then got %+v", r)
		}
		if g := desk.renew(o, ""); g.Do != wire.EvictClaim {
			t.Errorf("granted %+v", g)
		}
		desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "asked to leave"})
		if j := p.job(id); j.LastReason != "ann asked for it" {
			t.Errorf("it left because %q", j.LastReason)
		}
		desk.advertise("Unclaimed")
		if o := desk.offered(); o.Job != id { // nothing is wrong with the machine
			t.Errorf("offered %v", o.Job)
		}
	})
}

func TestMeasurements(t *testing.T) {
	const mb = 1 << 20
	for _, tt := range []struct {
		name        string
		logged, now job.Usage
		ago         time.Duration
		want        bool
	}{
		{"the first", job.Usage{}, job.Usage{MaxRSS: mb}, 0, true},
		{"nothing yet", job.Usage{}, job.Usage{Wall: time.Minute}, time.Minute, false},
		{"memory grew much", job.Usage{MaxRSS: 100 * mb}, job.Usage{MaxRSS: 111 * mb}, time.Second, true},
		{"disk grew much", job.Usage{MaxRSS: mb, MaxDisk: 100 * mb}, job.Usage{MaxRSS: mb, MaxDisk: 111 * mb}, time.Second, true},
		{"memory grew a little", job.Usage{MaxRSS: 100 * mb}, job.Usage{MaxRSS: 109 * mb}, time.Minute, false},
		{"memory grew a little, some time ago", job.Usage{MaxRSS: 100 * mb}, job.Usage{MaxRSS: 101 * mb}, 5 * time.Minute, true},
		{"nothing grew", job.Usage{MaxRSS: 100 * mb}, job.Usage{MaxRSS: 100 * mb}, time.Hour, false},
		{"it ran on", job.Usage{Wall: time.Hour}, job.Usage{Wall: 80 * time.Minute}, 20 * time.Minute, false},
		{"it ran for much longer", job.Usage{Wall: time.Hour}, job.Usage{Wall: 91 * time.Minute}, 31 * time.Minute, true},
		{"it computed for much longer", job.Usage{UserCPU: 2 * time.Hour}, job.Usage{UserCPU: 2 * time.Hour, SysCPU: 61 * time.Minute}, 31 * time.Minute, true},
		{"its times have just been logged", job.Usage{Wall: time.Minute}, job.Usage{Wall: 2 * time.Minute}, time.Minute, false},
	} {
		if got := worthLogging(tt.logged, tt.now, tt.ago); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What a run has used is what its machine said last, also where the log does not have it yet.
func TestWhatARunHasUsed(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		id := ann.submit(1, "")
		o := desk.start()
		desk.used(o, job.Usage{MaxRSS: 1 << 20, UserCPU: time.Second, Wall: time.Second})
		desk.used(o, job.Usage{MaxRSS: 1 << 20, UserCPU: time.Minute, Wall: time.Minute})
		if logged := p.job(id).Run.UserCPU; logged != time.Second {
			t.Fatalf("the log has %v", logged)
		}
		long := wire.Selection{Constraint: "RemoteUserCpu > 30"}
		r := ann.query(wire.Query{Kind: wire.QueryJobs, Select: long, Columns: []string{"RemoteUserCpu"}})
		if len(r.Rows) != 1 || string(r.Rows[0]) != `["6.000000000000000E+01"]` {
			t.Errorf("column: %s", r.Rows)
		}
		var row wire.JobRow
		r = ann.query(wire.Query{Kind: wire.QueryJobs})
		if err := json.Unmarshal(r.Rows[0], &row); err != nil {
			t.Fatal(err)
		}
		if cpu, _ := row.Ad.Real("RemoteUserCpu"); cpu != 60 {
			t.Errorf("row: %v", cpu)
		}
		time.Sleep(testTerms.Outlives())
		if j := p.job(id); j.State != job.Idle || j.Run.UserCPU != time.Minute {
			t.Errorf("after its machine was lost it is %v, and its run has used %v", j.State, j.Run.UserCPU)
		}
	})
}
