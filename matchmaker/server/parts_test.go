package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// advertiseParts sends the ads of a partitionable machine with 4 cpus, of which jobs have two each: the offers
// by the slots that were carved out for them.
func (a *agent) advertiseParts(jobs map[string]wire.Offer) {
	a.t.Helper()
	base := func(name, state string) *classad.Ad {
		ad, err := classad.ParseAd(`[ Requirements = START && WithinResourceLimits; START = true; Cpus = 4; Memory = 4096; Disk = 1000000; OpSys = "LINUX" ]`)
		if err != nil {
			a.t.Fatal(err)
		}
		ad.SetString("Name", name)
		ad.SetString("State", state)
		return ad
	}
	each, used := policy.Parts{Cpus: 2, Memory: 128, Disk: 1024}, policy.Parts{}
	var dynamic []*classad.Ad
	for name, o := range jobs {
		ad := base(name, "Claimed")
		policy.DynamicAd(ad, each, len(dynamic)+1, len(jobs))
		ad.SetString("JobId", o.Job.String())
		dynamic = append(dynamic, ad)
		used = used.Plus(each)
	}
	whole := base(policy.PartitionName(string(a.id)), "Unclaimed")
	policy.PartitionAd(whole, used, len(jobs), 4)
	a.send(wire.AdSubject(a.id), wire.Ad{V: wire.Version, Machine: string(a.id), Slots: slices.Concat([]*classad.Ad{whole}, dynamic)})
}

// acceptPart accepts an offer in a slot that was carved out for it.
func (a *agent) acceptPart(o wire.Offer, slot string) {
	a.t.Helper()
	g := ask[wire.Grant](a.pool, a.conn, wire.AgentSubject(a.id, wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: refOf(o), Slot: slot})
	if g.Gone {
		a.t.Fatalf("the claim of %v is gone", o.Job)
	}
}

const twoCpus = `RequestCpus = 2; RequestMemory = 100; RequestDisk = 100; Requirements = TARGET.Cpus >= RequestCpus; `

// What has been offered of a machine is not offered again, whether the machine's ad knows of it or not.
func TestPartsOffered(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		a, u := p.agent("pc1"), p.user("u1")
		a.advertiseParts(nil)
		first := u.submit(3, twoCpus)
		one, two := a.offered(), a.offered()
		a.noOffer()
		if one.Slot != "slot1@pc1" || two.Slot != "slot1@pc1" {
			t.Errorf("offered are %s and %s", one.Slot, two.Slot)
		}
		a.advertiseParts(nil) // sent before it heard of them
		a.noOffer()
		if got := explainOf(u, job.ID{Cluster: first.Cluster, Proc: 2}); !strings.Contains(got, "slot1@pc1 has 0 cpus left, and the job asks for 2 cpus") {
			t.Errorf("the third job waits because %q", got)
		}
		a.acceptPart(one, "slot1_1@pc1")
		a.acceptPart(two, "slot7_1@elsewhere") // which is no part of what was offered
		for o, want := range map[*wire.Offer]string{&one: "slot1_1@pc1", &two: "slot1@pc1"} {
			if got := p.job(o.Job).Claim.Slot; got != want {
				t.Errorf("job %v is in %s, want %s", o.Job, got, want)
			}
		}
		a.advertiseParts(map[string]wire.Offer{"slot1_1@pc1": one}) // the second is on its way
		a.noOffer()
		a.advertiseParts(map[string]wire.Offer{"slot1_1@pc1": one, "slot1_2@pc1": two})
		a.noOffer()
		a.done(one, wire.Done{Outcome: wire.Exited, Result: &job.Result{}})
		a.noOffer() // the machine has not said that it has room
		a.advertiseParts(map[string]wire.Offer{"slot1_2@pc1": two})
		if three := a.offered(); three.Job.Proc != 2 {
			t.Errorf("offered is job %v", three.Job)
		}
	})
}

// A machine that refuses a part rests as a whole, and is forgiven when a job of it ends well.
func TestPartsRest(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		a, u := p.agent("pc1"), p.user("u1")
		a.advertiseParts(nil)
		u.submit(1, twoCpus)
		one := a.offered()
		a.acceptPart(one, "slot1_1@pc1")
		a.advertiseParts(map[string]wire.Offer{"slot1_1@pc1": one})
		u.submit(1, twoCpus)
		two := a.offered()
		a.send(wire.AgentSubject(a.id, wire.VerbAccept), wire.Accept{V: wire.Version, ClaimRef: refOf(two), Refused: "too little is left"})
		a.noOffer()
		if a.done(one, wire.Done{Outcome: wire.Exited, Result: &job.Result{}}); p.server.rests.resting(slotKey{a.id, "slot1@pc1"}, time.Now()) {
			t.Error("the machine rests although a job of it has ended")
		}
		a.advertiseParts(nil)
		if again := a.offered(); again.Job != two.Job {
			t.Errorf("offered is job %v", again.Job)
		}
	})
}

// A dynamic slot goes on with its user's next job, which takes no more of the machine.
func TestPartsSucceed(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		a, u := p.agent("pc1"), p.user("u1")
		a.advertiseParts(nil)
		u.submit(3, twoCpus)
		one, two := a.offered(), a.offered()
		a.acceptPart(one, "slot1_1@pc1")
		a.acceptPart(two, "slot1_2@pc1")
		a.advertiseParts(map[string]wire.Offer{"slot1_1@pc1": one, "slot1_2@pc1": two})
		ack := a.done(one, wire.Done{Outcome: wire.Exited, Result: &job.Result{}, More: true})
		if ack.Next == nil || ack.Next.Slot != "slot1_1@pc1" {
			t.Fatalf("the answer brings %+v", ack.Next)
		}
		a.done(two, wire.Done{Outcome: wire.Exited, Result: &job.Result{}})
		a.advertiseParts(map[string]wire.Offer{"slot1_1@pc1": one}) // not up to date yet, and the part is the same
		u.submit(2, twoCpus)
		a.offered()
		a.noOffer()
	})
}

// A job counts for the cpus that it has, also where its description leaves them to the machine.
func TestPartsAreCharged(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		a, u := p.agent("pc1"), p.user("u1")
		a.advertiseParts(nil)
		u.submit(4, `RequestCpus = TARGET.Cpus / 2; RequestMemory = 100; RequestDisk = 100; Requirements = TARGET.Cpus >= 1; `)
		one, two, three := a.offered(), a.offered(), a.offered()
		a.noOffer()
		for i, o := range []wire.Offer{one, two, three} {
			a.acceptPart(o, policy.DynamicName(i+1, "pc1"))
			if used, want := p.queue.Accounts(time.Now())["u1"].InUse, []float64{2, 3, 4}[i]; used != want {
				t.Errorf("with job %v its user has %v cpus in use, want %v", o.Job, used, want)
			}
		}
		a.advertiseParts(map[string]wire.Offer{"slot1_1@pc1": one})
		if ack := a.done(one, wire.Done{Outcome: wire.Exited, Result: &job.Result{}, More: true}); ack.Next == nil {
			t.Fatal("the slot does not go on")
		}
		if used := p.queue.Accounts(time.Now())["u1"].InUse; used != 4 {
			t.Errorf("with another job in the part of the first its user has %v cpus in use, want 4", used)
		}
	})
}

// explainOf is why a job waits.
func explainOf(u *user, id job.ID) string {
	e := u.explain(id)
	return e.Sentence(time.UTC)
}
