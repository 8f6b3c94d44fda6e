package server

import (
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

// The jobs of a user who is put out are held, wherever they run, and none is offered until the user is let in again.
func TestJobsOfWhoWasPutOut(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob, desk := p.user("u1"), p.user("u2"), p.agent("desk")
		desk.advertise("Unclaimed")
		runs := ann.submit(2, "")
		waits := job.ID{Cluster: runs.Cluster, Proc: 1}
		o := desk.offered()
		desk.accept(o)
		others := bob.submit(1, "")

		p.out.Store("u1", true)
		p.server.MemberPutOut()
		for _, id := range []job.ID{runs, waits} {
			p.wantState(id, job.Held)
			if j := p.job(id); j.HoldReason != "its user was put out of the pool" || j.HoldCode != job.HoldBySystem {
				t.Errorf("job %v is held because %q, code %d", id, j.HoldReason, j.HoldCode)
			}
		}
		p.wantState(others, job.Idle)
		if c := <-desk.controls; c.Do != wire.KillClaim || c.ClaimRef != refOf(o) {
			t.Errorf("the agent was told %+v", c)
		}
		desk.done(o, wire.Done{Outcome: wire.Killed})

		// Whatever it is that has a job leave its hold, such as its own policy, it waits.
		ann.act(wire.Release, runs)
		p.wantState(runs, job.Idle)
		if o = desk.offered(); o.Job != others {
			t.Errorf("%v was offered", o.Job)
		}
		desk.accept(o)
		desk.done(o, exited(0))
		desk.noOffer()

		// A matchmaker that starts holds what its forerunner did not come to.
		p.stop()
		p.run()
		p.wantState(runs, job.Held)

		p.out.Delete("u1")
		ann.act(wire.Release, runs)
		desk.advertise("Unclaimed")
		if o = desk.offered(); o.Job != runs {
			t.Errorf("after the user's return %v was offered", o.Job)
		}
	})
}

// A machine that was put out is in the pool no more: nothing is offered to it, and nobody sees it.
func TestMachinePutOut(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("enrolled")
		desk.advertise("Unclaimed")
		p.out.Store("enrolled", true)
		p.server.MemberPutOut()
		synctest.Wait()
		if rows := ann.query(wire.Query{Kind: wire.QueryMachines}).Rows; len(rows) > 0 {
			t.Errorf("the pool has the machines %s", rows)
		}
		ann.submit(1, "")
		desk.noOffer()
	})
}

// A machine that is put out gives its jobs back first, and they run elsewhere at once. What it does not give back may still
// be running there, and waits for the end of the lease.
func TestJobsOfAMachinePutOut(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers bool
		left    int
		state   job.State
	}{
		{"one that can be reached", true, 0, job.Idle},
		{"one that cannot", false, 1, job.Running},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, "")
				o := desk.start()
				left := make(chan int)
				go func() {
					n, done := p.server.SendAway(t.Context(), "desk")
					p.out.Store("desk", true)
					done()
					left <- n
				}()
				synctest.Wait()
				if c := desk.control(); c.Do != wire.EvictClaim || c.ClaimRef != refOf(o) {
					t.Errorf("the agent was told %+v", c)
				}
				if tt.answers {
					desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "it was told to leave at once"})
					desk.advertise("Unclaimed")
					desk.noOffer()
				}
				if n := <-left; n != tt.left {
					t.Errorf("%d jobs are left there, want %d", n, tt.left)
				}
				p.wantState(id, tt.state)
				if got := p.job(id).LastReason; tt.answers && got != "its machine was put out of the pool" {
					t.Errorf("the job left because %q", got)
				}
				other := p.agent("other")
				other.advertise("Unclaimed")
				if !tt.answers {
					time.Sleep(testTerms.Outlives() + time.Minute)
				}
				other.advertise("Unclaimed")
				if o := other.offered(); o.Job != id {
					t.Errorf("%v was offered", o.Job)
				}
			})
		})
	}
}
