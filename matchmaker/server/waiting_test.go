package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/wire"
)

// What users cannot edit is all that a job's life gives it.
func TestProtectedAttributes(t *testing.T) {
	now := time.Now()
	full := job.Job{
		ID: job.ID{Cluster: 1}, User: "u1", Owner: "ann", State: job.Suspended, Entered: now, Submitted: now, Started: now, LastStart: now, Ended: now, Starts: 1,
		Claim: &job.Claim{Slot: "slot1@desk"}, Usage: job.Usage{MaxRSS: 1, MaxDisk: 1}, LastReason: "x", RemoveText: "x", ReleaseText: "x",
		LastHold: job.Hold{Reason: "x", Code: 1}, LastState: job.Running, LastHost: "x", Result: &job.Result{Signal: 9},
		Images: []job.Image{{Kind: job.CRIUImage, Digest: blob.Sum(nil), Needs: "true"}},
	}
	held, exited := full, full
	held.State, held.HoldReason, held.HoldCode = job.Held, "x", 1
	exited.Result = &job.Result{ExitCode: 1}
	for _, j := range []job.Job{full, held, exited} {
		for _, name := range j.CurrentAd().Names() {
			if _, ok := protected[strings.ToLower(name)]; !ok {
				t.Errorf("users can edit %s, which their job's life gives it", name)
			}
		}
	}
}

// All that jobs can differ in that have never run is known.
func TestUntriedAttributes(t *testing.T) {
	now := time.Now()
	fresh := job.Job{ID: job.ID{Cluster: 1}, User: "u1", Owner: "ann", State: job.Idle, Entered: now, Submitted: now}
	stirred := fresh
	stirred.Entered, stirred.Holds, stirred.LastHold = now.Add(time.Minute), 2, job.Hold{Reason: "x", Code: 1}
	stirred.ReleaseText, stirred.LastState, stirred.LastHost = "x", job.Held, "slot1@desk"
	a, b := fresh.CurrentAd(), stirred.CurrentAd()
	for _, name := range b.Names() {
		if a.Eval(name, nil).String() != b.Eval(name, nil).String() && !slices.Contains(job.UntriedVaries, name) {
			t.Errorf("%s differs, of which nothing is known", name)
		}
	}
}

// Jobs that were edited, held or released are matched as what they have become, and cost one batch.
func TestEditedJobsAreTakenTogether(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		ann.submit(1000, "RequestMemory = 5000; Requirements = TARGET.Memory >= RequestMemory; ")
		all := wire.Selection{Clusters: []int{1}}
		ann.set(wire.Prio, all, job.Assigned{Expr: "3"})
		ann.set(wire.Edit, wire.Selection{Constraint: "ProcId % 2 == 0"}, job.Assigned{Name: "Mine", Expr: "ProcId"})
		ann.set(wire.Edit, wire.Selection{Constraint: "ProcId == 7 || ProcId == 700"}, job.Assigned{Name: "RequestMemory", Expr: "500"})
		ann.set(wire.HoldJob, wire.Selection{Constraint: "ProcId < 3"})
		ann.set(wire.Release, wire.Selection{Constraint: "ProcId == 1"})
		snapshot := p.server.snapshot()
		if n := len(snapshot.Jobs); n != 1 || len(snapshot.Jobs[0].Procs) != 2 {
			t.Errorf("%d batches: %v", n, snapshot.Jobs)
		}
		for _, want := range []int{7, 700} { // which are the ones that fit
			desk := p.agent(job.AgentID("desk" + string(rune('a'+want%26))))
			desk.advertise("Unclaimed")
			if o := desk.offered(); o.Job.Proc != want {
				t.Errorf("offered %v, want 1.%d", o.Job, want)
			}
		}
	})
}

// A job that is the only one left of its cluster to which nothing has happened is taken together with edited ones that
// come before it.
func TestEditedJobBeforeTheLast(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		ann.submit(2, "RequestMemory = 500; Requirements = TARGET.Memory >= RequestMemory; ")
		ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{{Cluster: 1}}}, job.Assigned{Name: "RequestMemory", Expr: "8000"})
		desk := p.agent("desk")
		desk.advertise("Unclaimed")
		if o := desk.offered(); o.Job.Proc != 1 {
			t.Errorf("offered %v, want 1.1, which is the one that fits", o.Job)
		}
		p.wantState(job.ID{Cluster: 1}, job.Idle)
	})
}
