package server

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
)

// more is a report that asks for another job.
func more() wire.Done {
	d := exited(0)
	d.More = true
	return d
}

// runs has an agent take an offer and run its job.
func (a *agent) runs(state string) wire.Offer {
	a.t.Helper()
	o := a.offered()
	if g := a.accept(o); g.Gone {
		a.t.Fatal("the claim is gone")
	}
	a.advertise(state)
	return o
}

func (p *pool) allKinds(user job.UserID) string {
	p.t.Helper()
	page, err := p.queue.Events(p.t.Context(), user, 0, 1000)
	if err != nil {
		p.t.Fatal(err)
	}
	var kinds []string
	for _, ev := range page.Events {
		kinds = append(kinds, ev.Body.Kind())
	}
	return strings.Join(kinds, " ")
}

func TestReportBringsTheNextJob(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(3, "")
		first := desk.runs("Claimed")
		ack := desk.done(first, more())
		next := ack.Next
		if ack.Stale || ack.Fail != nil || next == nil {
			t.Fatalf("the report got %+v", ack)
		}
		if want := (job.ID{Cluster: id.Cluster, Proc: 1}); next.Job != want || next.Slot != first.Slot || next.Claim == first.Claim || next.Epoch != 1 || next.Read == "" {
			t.Errorf("the next job is %v for %s, claim %s, epoch %d", next.Job, next.Slot, next.Claim, next.Epoch)
		}
		p.wantState(first.Job, job.Completed)
		p.wantState(next.Job, job.Running)
		desk.noOffer()
		if got := p.allKinds("u1"); got != "submitted offered started ended offered started" {
			t.Errorf("logged: %s", got)
		}
		// The answer was lost: the report is repeated, and so is the answer.
		if again := desk.done(first, more()).Next; again == nil || again.Claim != next.Claim {
			t.Fatalf("the repeated report brought %+v", again)
		}
		if g := desk.renew(*next, ""); g.Gone {
			t.Fatal("the next claim cannot be renewed")
		}
		if ack := desk.done(first, more()); ack.Next != nil || !ack.Stale {
			t.Errorf("a report whose answer has arrived got %+v", ack)
		}
		// An agent that does not ask gets nothing, as one that does not know of it.
		if ack := desk.done(*next, exited(0)); ack.Next != nil || ack.Stale {
			t.Errorf("a report that asks for nothing got %+v", ack)
		}
		desk.advertise("Unclaimed")
		desk.offered()
	})
}

func TestNextJobOfWhichNothingIsHeard(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		ann.submit(2, "")
		next := desk.done(desk.runs("Claimed"), more()).Next
		if next == nil {
			t.Fatal("the report brought nothing")
		}
		time.Sleep(testTerms.Offer)
		p.wantState(next.Job, job.Running)
		time.Sleep(testTerms.Offer/10 + testTerms.Guard)
		p.wantState(next.Job, job.Idle) // long before a lease would be over
	})
}

func TestNextJobIsRefused(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
		desk.advertise("Unclaimed")
		ann.submit(2, "")
		next := desk.done(desk.runs("Claimed"), more()).Next
		lab.advertise("Unclaimed")
		desk.send(wire.AgentSubject("desk", wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: refOf(*next), Refused: "the owner is back"})
		if o := lab.offered(); o.Job != next.Job || o.Epoch != next.Epoch+1 {
			t.Errorf("elsewhere job %v is offered in epoch %d", o.Job, o.Epoch)
		}
		if g := desk.renew(*next, ""); !g.Gone {
			t.Error("a claim that was refused is renewed")
		}
	})
}

func TestNextJobAfterRestart(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		ann.submit(2, "")
		first := desk.runs("Claimed")
		next := desk.done(first, more()).Next
		p.stop()
		p.run()
		desk.advertise("Claimed")
		if again := desk.done(first, more()).Next; again == nil || again.Claim != next.Claim {
			t.Fatalf("after the matchmaker's restart the repeated report brought %+v", again)
		}
		if ack := desk.done(*next, exited(0)); ack.Stale {
			t.Error("the next job's result does not count")
		}
		p.wantState(next.Job, job.Completed)
	})
}

// A matchmaker that dies while it logs the end of a job and what comes next may have logged the first of it only.
func TestNextJobAfterACrashInBetween(t *testing.T) {
	for lacks, tt := range []struct {
		name string
		next job.State
	}{
		{"all is logged", job.Running},
		{"the start is not", job.Idle},
		{"nothing of the next job is", job.Idle},
		{"nothing is", job.Running},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk, lab := p.user("u1"), p.agent("desk"), p.agent("lab")
				desk.advertise("Unclaimed")
				ann.submit(2, "")
				first := desk.runs("Claimed")
				desk.done(first, more())
				p.stop()
				var records [][]byte
				if err := p.log.Read(t.Context(), 1, func(_ uint64, r []byte) error {
					records = append(records, r)
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				p.log = bus.NewMemoryLog()
				if _, err := p.log.Append(t.Context(), 0, records[:len(records)-lacks]); err != nil {
					t.Fatal(err)
				}
				p.run()
				desk.advertise("Claimed")
				ack := desk.done(first, more())
				if goesOn := ack.Next != nil; goesOn != (tt.next == job.Running) || ack.Stale != (tt.next == job.Idle) {
					t.Errorf("after the matchmaker's restart the repeated report got %+v", ack)
				}
				p.wantState(first.Job, job.Completed)
				second := job.ID{Cluster: first.Job.Cluster, Proc: 1}
				if p.wantState(second, tt.next); tt.next == job.Running {
					return
				}
				// It runs where there is room: once, and not because of what was logged before the crash.
				time.Sleep(testTerms.Offer + time.Second)
				lab.advertise("Unclaimed")
				if o := lab.runs("Claimed"); o.Job != second {
					t.Errorf("then job %v is offered", o.Job)
				}
			})
		})
	}
}

// What a negotiation cycle would decide about the slot is decided when a claim goes on.
func TestSlotDoesNotGoOn(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(p *pool)
		jobs string // attributes of the job that waits
		then func(p *pool, ann, bob *user, desk *agent)
		want bool
	}{
		{name: "nothing is in the way", want: true},
		{
			name: "another user is due",
			then: func(_ *pool, _, bob *user, _ *agent) { bob.submit(1, "") },
		},
		{name: "the job's Requirements do not hold", jobs: "Requirements = TARGET.Memory > 5000;"},
		{name: "the job's time has not come", jobs: "DeferralTime = time() + 3600; DeferralWindow = 60; DeferralPrepTime = 60;"},
		{name: "the job's policy is about to hold it", jobs: "PeriodicHold = JobStatus == 1 && (time() - QDate) > 20;"},
		{
			name: "a limit is full", set: func(p *pool) { p.limits = map[string]float64{"matlab": 1} },
			jobs: `ConcurrencyLimits = "matlab";`,
			then: func(p *pool, ann, _ *user, _ *agent) {
				lab := p.agent("lab")
				lab.advertise("Unclaimed")
				ann.submit(1, `ConcurrencyLimits = "matlab"; JobPrio = 5;`)
				lab.runs("Claimed")
			},
		},
		{
			name: "a limit has just so much room", set: func(p *pool) { p.limits = map[string]float64{"matlab": 1} },
			jobs: `ConcurrencyLimits = "matlab";`, want: true,
		},
		{
			name: "the claim is old",
			then: func(p *pool, _, _ *user, _ *agent) { time.Sleep(DefaultWorklife) },
		},
		{name: "claims do not go on here", set: func(p *pool) { p.worklife = -1 }},
		{
			name: "the job is on hold",
			then: func(_ *pool, ann, _ *user, _ *agent) { ann.act(wire.HoldJob, job.ID{Cluster: 2}) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := tt.set
			if set == nil {
				set = func(*pool) {}
			}
			inPoolWith(t, func(p *pool) { p.terms.Lease = time.Hour; set(p) }, func(t *testing.T, p *pool) {
				ann, bob, desk := p.user("u1"), p.user("u2"), p.agent("desk")
				desk.advertise("Unclaimed")
				ann.submit(1, "")
				o := desk.runs("Claimed")
				waits := ann.submit(1, tt.jobs)
				time.Sleep(30 * time.Second)
				if tt.then != nil {
					tt.then(p, ann, bob, desk)
				}
				desk.advertise("Claimed")
				ack := desk.done(o, more())
				if ack.Stale || ack.Fail != nil {
					t.Fatalf("the report got %+v", ack)
				}
				p.wantState(o.Job, job.Completed)
				if got := ack.Next != nil; got != tt.want {
					t.Errorf("the slot goes on: %v, want %v; job %v is %v", got, tt.want, waits, p.job(waits).State)
				}
			})
		})
	}
}

// Many slots that become vacant at once get different jobs, and nobody waits for another.
func TestManyVacancies(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		const slots = 8
		ann := p.user("u1")
		var agents []*agent
		for i := range slots {
			a := p.agent(job.AgentID("desk" + string(rune('a'+i))))
			a.advertise("Unclaimed")
			agents = append(agents, a)
		}
		ann.submit(2*slots-3, "")
		var offers []wire.Offer
		for _, a := range agents {
			offers = append(offers, a.runs("Claimed"))
		}
		got := make(chan *wire.Offer, slots)
		for i, a := range agents {
			go func() {
				d := more()
				d.V, d.ClaimRef = wire.Version, refOf(offers[i])
				got <- ask[wire.Ack](p, a.conn, wire.AgentSubject(a.id, wire.VerbDone), d).Next
			}()
		}
		synctest.Wait()
		var procs []int
		for range slots {
			if next := <-got; next != nil {
				procs = append(procs, next.Job.Proc)
			}
		}
		slices.Sort(procs)
		if want := []int{8, 9, 10, 11, 12}; !slices.Equal(procs, want) {
			t.Errorf("the slots go on with procs %v, want %v", procs, want)
		}
		if n := len(p.server.reserved); n != 0 {
			t.Errorf("%d jobs are still reserved", n)
		}
	})
}
