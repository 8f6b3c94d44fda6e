package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

func TestRestartInTheMiddle(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)

		time.Sleep(testTerms.Outlives() - time.Second) // the lease is about to end
		p.stop()
		time.Sleep(time.Hour) // and would be long over
		p.run()
		p.wantState(id, job.Running)
		if g := desk.renew(o, ""); g.Gone {
			t.Error("the claim is gone after the restart")
		}
		p.stop()
		p.run()
		time.Sleep(testTerms.Outlives() - time.Millisecond)
		p.wantState(id, job.Running)
		time.Sleep(time.Millisecond)
		p.wantState(id, job.Idle)
	})
}

// A machine goes by the lease that it was offered, and so does a matchmaker that has restarted: whatever the job or the
// settings say of leases by then.
func TestLeaseThatHasBecomeShorter(t *testing.T) {
	edit := func(p *pool, ann *user, id job.ID) {
		ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: "JobLeaseDuration", Expr: "10"})
	}
	for _, tt := range []struct {
		name   string
		change func(p *pool, ann *user, id job.ID)
		old    bool // the log is of a build that did not log leases
	}{
		{name: "the job's", change: edit},
		{name: "the job's, which the log does not have", change: edit, old: true},
		{name: "the pool's", change: func(p *pool, _ *user, _ job.ID) { p.terms.Lease, p.terms.Renew = 12*time.Second, 4*time.Second }},
		{name: "that of a claim that was taken away", change: func(p *pool, ann *user, id job.ID) {
			edit(p, ann, id)
			ann.act(wire.HoldJob, id)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				ann := p.user("u1")
				id := ann.submit(1, "")
				if tt.old {
					o := &job.Offered{Job: id, Claim: "c", Epoch: 1, Agent: "desk", Slot: "slot1@desk", Machine: "desk"}
					if err := p.queue.Commit(t.Context(), o, &job.Started{Job: id, Epoch: 1}); err != nil {
						t.Fatal(err)
					}
				} else {
					desk := p.agent("desk")
					desk.advertise("Unclaimed")
					desk.accept(desk.offered())
				}
				tt.change(p, ann, id)
				p.stop()
				p.run()
				stands := func() bool { j := p.job(id); return j.State == job.Running || j.Lingering != nil }
				time.Sleep(testTerms.Outlives() - time.Millisecond)
				if !stands() {
					t.Error("the claim has ended before the machine takes it for lapsed")
				}
				time.Sleep(time.Millisecond)
				if stands() {
					t.Error("the claim outlives its lease")
				}
			})
		})
	}
}

func TestAcceptanceAfterRestart(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		p.stop()
		p.run()
		if g := desk.accept(o); g.Gone {
			t.Error("an offer that stood before the restart was not granted after it")
		}
		p.wantState(id, job.Running)
		p.stop()
		p.run()
		if ack := desk.done(o, exited(0)); ack.Stale || ack.Fail != nil {
			t.Errorf("the result got %+v", ack)
		}
		p.wantState(id, job.Completed)
		p.stop()
		p.run()
		if ack := desk.done(o, exited(0)); !ack.Stale {
			t.Errorf("the result of a completed job got %+v", ack)
		}
	})
}

// A matchmaker that stops does not call claims dead that stand: it says nothing about them any more.
func TestStoppedMatchmakerIsSilent(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		desk.accept(desk.offered())
		p.stop()
		if !p.server.entrust(id, func(context.Context, *keeper) { t.Error("it goes on with its work") }) {
			t.Error("the claim has no keeper any more")
		}
	})
}

// A machine that gave a claim up, since it did not hear that it was granted, says so; the job need not wait for the end
// of the lease.
func TestGivenUp(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		if ack := desk.done(o, wire.Done{Outcome: wire.Killed}); ack.Stale || ack.Fail != nil {
			t.Errorf("it was answered %+v", ack)
		}
		p.wantState(id, job.Idle)
		if why := p.job(id).LastReason; !strings.Contains(why, "knows nothing of the job") {
			t.Errorf("it is idle because %q", why)
		}
		time.Sleep(2 * firstRest)
		if o = desk.offered(); o.Epoch != 2 {
			t.Errorf("it is offered in epoch %d", o.Epoch)
		}
	})
}

// A machine of whose claim nothing is heard is asked whether it has it, long before the lease is over: a matchmaker that
// dies with the grant on its lips leaves a claim that only itself knows of.
func TestUnheardClaim(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "")
		o := desk.offered()
		desk.accept(o)
		p.stop()
		p.run()
		desk.advertise("Unclaimed")
		asked := func() {
			t.Helper()
			began := time.Now()
			if c := <-desk.controls; c.Do != wire.ConfirmClaim || c.ClaimRef != refOf(o) || time.Since(began) > missedRenewals*testTerms.Renew {
				t.Errorf("after %v the agent was sent %+v", time.Since(began), c)
			}
		}
		asked()
		p.wantState(id, job.Running) // it is not for the matchmaker to say
		desk.renew(o, "")
		time.Sleep(missedRenewals*testTerms.Renew - time.Millisecond)
		synctest.Wait()
		if n := len(desk.controls); n != 0 {
			t.Errorf("%d controls for an agent that has just been heard of", n)
		}
		asked()
		desk.done(o, wire.Done{Outcome: wire.Killed})
		p.wantState(id, job.Idle)
	})
}

// A job that every machine gives back at once is offered more and more seldom, however many machines there are.
func TestGivenBackEverywhere(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		const machines = 20
		ann := p.user("u1")
		var desks []*agent
		for n := range machines {
			desks = append(desks, p.agent(job.AgentID(fmt.Sprint("desk", n))))
			desks[n].advertise("Unclaimed")
		}
		ann.submit(1, "")
		offers := 0
		for begun := time.Now(); time.Since(begun) < 5*time.Minute; time.Sleep(500 * time.Millisecond) {
			for _, d := range desks {
				select {
				case o := <-d.offers:
					offers++
					d.accept(o)
					d.done(o, wire.Done{Outcome: wire.Evicted, Reason: "it cannot be run"})
				default:
				}
			}
			synctest.Wait()
		}
		if offers < 5 || offers > 15 {
			t.Errorf("it was offered %d times in five minutes", offers)
		}
	})
}

// A matchmaker that begins asks all agents what they have: those that have nothing to do would say it minutes later.
func TestAgentsAreCalled(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		desk := p.agent("enrolled")
		p.stop()
		p.run()
		synctest.Wait()
		if c := desk.control(); c.Do != wire.Advertise {
			t.Errorf("it is told to %s", c.Do)
		}
	})
}

func TestHeartbeatOfAnUnknownAgent(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		desk := p.agent("desk")
		desk.advertise("Unclaimed")
		desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
		if n := len(desk.controls); n != 0 {
			t.Errorf("%d controls for an agent that is known", n)
		}
		p.stop()
		p.run()
		desk.send(wire.HeartbeatSubject("desk"), wire.Heartbeat{V: wire.Version})
		if c := <-desk.controls; c.Do != wire.Advertise {
			t.Errorf("got control %q", c.Do)
		}
	})
}

func TestNewLeaderEndsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pool{t: t, hub: bus.NewMemory(), log: bus.NewMemoryLog(), terms: testTerms, start: time.Now()}
		q, err := queue.Open(t.Context(), queue.Config{Log: p.log})
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{
			Bus: p.hub.Connect("old"), Queue: q, Roster: fakeRoster{new(sync.Map)},
			Clock:    func() job.Instant { return job.Instant(time.Since(p.start)) },
			Sign:     func(trust.Capability) (string, error) { return "", nil },
			ImageKey: func(job.ID) blob.Key { return blob.Key{} },
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context()) }()
		synctest.Wait()
		if _, err := queue.Open(t.Context(), queue.Config{Log: p.log}); err != nil {
			t.Fatal(err)
		}
		ann := p.user("u1")
		r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), clusterOf(t, 1, ""))
		if r.Fail == nil {
			t.Error("a stale matchmaker took a submit")
		}
		if err := <-done; !errors.Is(err, queue.ErrStale) {
			t.Errorf("it ended with %v", err)
		}
		ann.conn.Close()
		s.cfg.Bus.Close()
	})
}
