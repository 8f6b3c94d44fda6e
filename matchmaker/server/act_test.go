package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/wire"
)

func TestRemoveHoldRelease(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob, desk := p.user("u1"), p.user("u2"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)

		if r := bob.act(wire.Remove, id); len(r.Done) != 0 || r.Not["1.0"] != "you have no such job" {
			t.Errorf("bob removing ann's job got %+v", r)
		}
		p.wantState(id, job.Running)

		if r := ann.act(wire.HoldJob, id); len(r.Done) != 1 {
			t.Fatalf("holding got %+v", r)
		}
		p.wantState(id, job.Held)
		if c := <-desk.controls; c.Do != wire.KillClaim || c.ClaimRef != refOf(o) {
			t.Errorf("the agent was told %+v", c)
		}
		if g := desk.renew(o, ""); !g.Gone {
			t.Error("the claim of a held job was renewed")
		}
		if r := ann.act(wire.HoldJob, id); r.Not["1.0"] != "it is held already" {
			t.Errorf("holding twice got %+v", r)
		}
		ann.act(wire.Release, id)
		desk.noOffer() // its copy there may still be running
		if e := ann.explain(id); e.Run == nil || !e.Run.Ending || !strings.HasPrefix(e.Sentence(time.UTC), "its last run, on slot1@desk, is being ended") {
			t.Errorf("why says %q", e.Sentence(time.UTC))
		}
		if ack := desk.done(o, wire.Done{Outcome: wire.Killed}); !ack.Stale {
			t.Error("the end of a withdrawn claim counted for something")
		}
		o = desk.offered()
		if o.Epoch != 2 {
			t.Errorf("epoch %d", o.Epoch)
		}
		desk.accept(o)
		if e := ann.explain(id); e.Run == nil || e.Run.Ending {
			t.Errorf("of a job that runs why says %+v", e.Run)
		}
		time.Sleep(7 * time.Second)
		ann.act(wire.Remove, id)
		p.wantState(id, job.Removed)
		if ran := p.job(id).Usage.Wall; ran != 7*time.Second {
			t.Errorf("it ran for %v", ran)
		}
		if c := <-desk.controls; c.Do != wire.KillClaim || c.Claim != o.Claim {
			t.Errorf("the agent was told %+v", c)
		}
		if ack := desk.done(o, exited(0)); !ack.Stale {
			t.Error("the result of a removed job counted")
		}
		if r := ann.act(wire.Remove, id); r.Not["1.0"] != "it has been removed" {
			t.Errorf("removing twice got %+v", r)
		}
		if r := ann.act(wire.Deliver, id); r.Not["1.0"] != "it has not completed" {
			t.Errorf("delivering a removed job got %+v", r)
		}
	})
}

func TestActOnSelections(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		ann.submit(2, "JobPrio = 1")
		ann.submit(2, "JobPrio = 2")
		act := func(sel wire.Selection) wire.ActionResult {
			return ask[wire.ActionResult](p, ann.conn, wire.UserSubject("u1", wire.VerbAct), wire.Action{V: wire.Version, Do: wire.HoldJob, Select: sel})
		}
		for _, tt := range []struct {
			sel       wire.Selection
			done, not string
		}{
			{wire.Selection{Constraint: "JobPrio == 2 && ProcId == 1"}, "[2.1]", "map[]"},
			{wire.Selection{Clusters: []int{2, 7}}, "[2.0]", "map[7:you have no such cluster]"},
			{wire.Selection{Jobs: []job.ID{{Cluster: 2}}, Clusters: []int{1}}, "[1.0 1.1]", "map[2.0:it is held already]"},
			{wire.Selection{}, "[]", "map[]"},
		} {
			r := act(tt.sel)
			if fmt.Sprint(r.Done) != tt.done || fmt.Sprint(r.Not) != tt.not {
				t.Errorf("holding %+v: %v, not %v; want %s, not %s", tt.sel, r.Done, r.Not, tt.done, tt.not)
			}
		}
		if r := act(wire.Selection{Constraint: "JobPrio =="}); r.Fail == nil || !strings.Contains(r.Fail.What, "constraint") {
			t.Errorf("a bad constraint got %+v", r)
		}
	})
}

// TestUndone: of a submit and of the removal of jobs that are yet to come it is said that nothing was done, where that is so.
func TestUndone(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		id := ann.submit(3, "JobMaterializeLimit = 1")
		submit := clusterOf(t, 1, "")
		digest := blob.Sum([]byte("in"))
		submit.Inputs = [][]job.File{{{Name: "in", Digest: digest, Size: 2}}}
		submitted := func() *wire.Failure {
			return ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), submit).Fail
		}
		removed := func() *wire.Failure {
			return ask[wire.ActionResult](p, ann.conn, wire.UserSubject("u1", wire.VerbAct),
				wire.Action{V: wire.Version, Do: wire.Remove, Select: wire.Selection{Clusters: []int{id.Cluster}}}).Fail
		}
		undone := func(what string, f *wire.Failure) {
			t.Helper()
			if f == nil || !f.Again || !f.Undone {
				t.Errorf("%s: %+v, want it to be undone", what, f)
			}
		}
		p.away = true
		undone("a submit while an input may be elsewhere", submitted())
		p.away, p.held["u1/"+string(digest)] = false, true
		p.mute = true
		undone("a submit while nothing can be logged", submitted())
		undone("a removal while nothing can be logged", removed())
		p.mute = false
		if f := submitted(); f != nil {
			t.Errorf("in the end the submit is told %+v", f)
		}
		if f := removed(); f != nil {
			t.Errorf("in the end the removal is told %+v", f)
		}
	})
}

// TestActionsWaitForTheLog: while the log takes nothing, an action is told that nothing of it has been done, and under the
// same name it is done later.
func TestActionsWaitForTheLog(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		id := ann.submit(3, "")
		hold := func() wire.ActionResult {
			return ask[wire.ActionResult](p, ann.conn, wire.UserSubject("u1", wire.VerbAct),
				wire.Action{V: wire.Version, Request: "r", Do: wire.HoldJob, Select: wire.Selection{Clusters: []int{id.Cluster}}})
		}
		p.mute = true
		if r := hold(); r.Fail == nil || !r.Fail.Again || !r.Fail.Undone {
			t.Errorf("while nothing can be logged it was told %+v", r.Fail)
		}
		p.mute = false
		if r := hold(); r.Fail != nil || len(r.Done) != 3 {
			t.Errorf("then %v were held (%+v), want all three", r.Done, r.Fail)
		}
	})
}
