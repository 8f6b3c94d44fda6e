package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

func TestRefusingMachineRests(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		offers := 0
		for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); {
			select {
			case o := <-desk.offers:
				offers++
				desk.send(wire.AgentSubject("desk", wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: refOf(o), Refused: "not now"})
				desk.advertise("Unclaimed") // as an agent does when its slot is free again
			default:
				time.Sleep(time.Second)
				desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
			}
		}
		// After 0, 1, 3, 7, ... seconds, and then every five minutes.
		if offers < 8 || offers > 12 {
			t.Errorf("%d offers in ten minutes", offers)
		}
		row := ann.query(wire.Query{Kind: wire.QueryJobs}).Rows[0]
		if !strings.Contains(string(row), "gave a job back a moment ago") {
			t.Errorf("ann is told %s", row)
		}
		p.wantState(id, job.Idle)
	})
}

// TestUnansweredOffer has a machine that is gone be noticed by the first job that is offered to it, and one that lives be
// back at once.
func TestUnansweredOffer(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		machines := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			if n := len(ann.query(wire.Query{Kind: wire.QueryMachines}).Rows); n != want {
				t.Errorf("%s there are %d machines, want %d", when, n, want)
			}
		}
		machines(1, "at first")
		ann.submit(1, "")
		<-desk.offers
		if c := <-desk.controls; c.Do != wire.Advertise {
			t.Errorf("the agent is told to %s", c.Do)
		}
		machines(0, "after an offer was not answered")
		desk.advertise("Unclaimed")
		machines(1, "after the agent has spoken")
		<-desk.offers // once its slot has rested
	})
}

func TestGoodbyeAndSilence(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
		desk.advertise("Unclaimed")
		desk.send(wire.AdSubject("desk"), wire.Ad{V: wire.Version, Machine: "desk", Bye: true})
		lab.advertise("Unclaimed")
		for range 5 {
			time.Sleep(wire.HeartbeatInterval)
			lab.send(wire.HeartbeatSubject("lab"), wire.Heartbeat{V: wire.Version})
		}
		if n := len(ann.query(wire.Query{Kind: wire.QueryMachines}).Rows); n != 1 {
			t.Errorf("%d machines, want 1", n)
		}
		time.Sleep(wire.MissedHeartbeats * wire.HeartbeatInterval)
		if n := len(ann.query(wire.Query{Kind: wire.QueryMachines}).Rows); n != 0 {
			t.Errorf("%d machines after a long silence", n)
		}
		ann.submit(1, "")
		desk.noOffer()
		lab.noOffer()
		row := ann.query(wire.Query{Kind: wire.QueryJobs}).Rows[0]
		if !strings.Contains(string(row), "no machine is in the pool") {
			t.Errorf("ann is told %s", row)
		}
	})
}
