package startd

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"skua/agent/slot"
	"skua/internal/bus"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// partedDaemon is a daemon that is not running, on a partitionable machine with 4 cpus, 4000 MB and 4,000,000 KB for so
// many jobs at a time.
func partedDaemon(t *testing.T, most int) *Daemon {
	t.Helper()
	p, err := policy.Derive(policy.File{Preset: policy.Dedicated})
	if err != nil {
		t.Fatal(err)
	}
	facts, err := classad.ParseOldAd("TotalCpus = 4\nTotalMemory = 4445\nTotalDisk = 4444445") // of which it grants 90%
	if err != nil {
		t.Fatal(err)
	}
	conn := bus.NewMemory().Connect("desk")
	t.Cleanup(func() { conn.Close() })
	d, err := New(Config{
		Agent: "agent", Machine: "desk", Dir: t.TempDir(), Slots: most, Partitionable: true, Bus: conn,
		Starter: noStarter{errors.New("no sandbox here")}, Files: &Storage{}, Policy: p, Clock: func() job.Instant { return 0 },
		Facts: func(context.Context) (*classad.Ad, error) { return facts, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.readFacts(t.Context())
	return d
}

// asks is an offer of a job.
func asks(t *testing.T, claim job.ClaimID, cpus, memory int) wire.Offer {
	t.Helper()
	ad, err := classad.ParseOldAd(fmt.Sprintf("Cmd = \"x\"\nRequestCpus = %d\nRequestMemory = %d\nRequestDisk = 1000", cpus, memory))
	if err != nil {
		t.Fatal(err)
	}
	return wire.Offer{V: wire.Version, Slot: "slot1@desk", Job: job.ID{Cluster: 7}, Claim: claim, Epoch: 1, Ad: ad}
}

// An agent carves out what is left and refuses the rest, whatever the matchmaker thinks.
func TestTakeParts(t *testing.T) {
	d := partedDaemon(t, 3)
	take := func(claim job.ClaimID, cpus, memory int, want, why string) {
		t.Helper()
		k, refused := d.parts.take(asks(t, claim, cpus, memory))
		name := ""
		if k != nil {
			name = k.name
		}
		if name != want || refused != why {
			t.Errorf("claim %s gets %q (%q), want %q (%q)", claim, name, refused, want, why)
		}
	}
	take("a", 2, 1000, "slot1_1@desk", "")
	take("b", 3, 1000, "", "slot1@desk has 2 cpus left, and the job asks for 3 cpus")
	take("c", 1, 2000, "slot1_2@desk", "")
	take("a", 2, 1000, "slot1_1@desk", "") // the same offer once more
	take("d", 1, 1000, "", "slot1@desk has 928 MB of memory left, and the job asks for 1000 MB of memory")
	if got, want := *d.parts.of(d.keepers[1]), (policy.Parts{Cpus: 1, Memory: 2048, Disk: 1024}); got != want {
		t.Errorf("the second has %+v, want %+v", got, want)
	}
	if got, want := d.keepers[1].limits(), (limits{Memory: 2048 << 20, Disk: 1 << 20}); got != want {
		t.Errorf("its job may have %+v, want %+v", got, want)
	}
	d.keepers[0].giveBack()
	take("e", 1, 500, "slot1_1@desk", "")
	take("f", 1, 500, "slot1_3@desk", "")
	take("h", 1, 1, "", "slot1@desk has 3 jobs, and may not have more at a time")
}

// Whoever has no job speaks for the partitionable slot, and only one of them looks after it.
func TestPartsSpeak(t *testing.T) {
	d := partedDaemon(t, 3)
	names := func() (all []string) {
		for _, ad := range d.ads(time.Now()) {
			name, _ := ad.Str("Name")
			cpus, _ := ad.Int("Cpus")
			jobID, _ := ad.Str("JobId")
			all = append(all, fmt.Sprint(name, " ", cpus, " ", jobID))
		}
		return all
	}
	rest := func() (all []int) {
		for _, k := range d.keepers {
			if d.parts.rests(k) {
				all = append(all, k.num)
			}
		}
		return all
	}
	if got, want := fmt.Sprint(names(), rest()), "[slot1@desk 4 ] [2 3]"; got != want {
		t.Errorf("at first: %s, want %s", got, want)
	}
	offer := asks(t, "a", 3, 1000)
	k, _ := d.parts.take(offer)
	if got, want := fmt.Sprint(names(), rest()), "[slot1@desk 1 ] [3]"; got != want {
		t.Errorf("with an offer that has not been taken yet: %s, want %s", got, want)
	}
	k.slot.State, k.slot.Tenancy = slot.Claimed, job.Tenancy{Phase: job.Holding, Job: offer.Job, Claim: "a"}
	if got, want := fmt.Sprint(names(), rest()), "[slot1@desk 1  slot1_1@desk 3 7.0] [3]"; got != want {
		t.Errorf("with a job: %s, want %s", got, want)
	}
	d.parts.restore(d.keepers[1], "b", policy.Parts{Cpus: 1})
	d.parts.restore(d.keepers[2], "c", policy.Parts{})
	if got, want := fmt.Sprint(names(), rest()), "[slot1@desk 0  slot1_1@desk 3 7.0] []"; got != want {
		t.Errorf("with as many as there may be: %s, want %s", got, want)
	}
}

// A dynamic slot takes what was carved out for it, and no offer that names it.
func TestPartsAreNotOffered(t *testing.T) {
	d := partedDaemon(t, 2)
	k := d.keepers[0]
	now := time.Now()
	if _, ok := k.offered(asks(t, "a", 1, 1), now, 0).(slot.Offered); ok {
		t.Error("a dynamic slot takes an offer for which nothing was set apart")
	}
	if got, _ := d.parts.take(asks(t, "a", 1, 1)); got != k {
		t.Fatalf("the first job goes to %v", got)
	}
	if _, ok := k.offered(asks(t, "b", 1, 1), now, 0).(slot.Offered); ok {
		t.Error("it takes an offer in the place of another")
	}
	if _, ok := k.offered(asks(t, "a", 1, 1), now, 0).(slot.Offered); !ok {
		t.Error("it does not take its own")
	}
	unfit := asks(t, "a", 1, 1)
	unfit.Images = []job.Image{{Kind: job.CRIUImage, Fit: &fit.Needs{Features: []string{"no such feature"}}}}
	if _, ok := k.offered(unfit, now, 0).(slot.Offered); ok || d.parts.of(k) != nil {
		t.Error("what was set apart for an image that does not fit is not given back")
	}
	if got, _ := d.parts.take(asks(t, "a", 1, 1)); got != k {
		t.Fatalf("the next job goes to %v", got)
	}
	d.leaving.Store(true)
	k.slot.Tenancy = job.Tenancy{Phase: job.Holding, Claim: "next"} // it has followed the claim that is offered once more
	if _, ok := k.offered(asks(t, "a", 1, 1), now, 0).(slot.Offered); ok || d.parts.of(k) == nil {
		t.Error("an offer that comes late takes the share of the job that runs")
	}
	k.slot.Tenancy = job.Tenancy{}
	if _, ok := k.offered(asks(t, "a", 1, 1), now, 0).(slot.Offered); ok || d.parts.of(k) != nil {
		t.Error("what an agent that ends declines is not given back")
	}
}

// An agent that is started again gives its claims back what they had, before it takes any offer. One that is
// no longer partitionable, or was not, gives them up, and says so.
func TestPartsAreReadopted(t *testing.T) {
	had := policy.Parts{Cpus: 3, Memory: 1024, Disk: 1024}
	left := func(d *Daemon, slotName string, share *policy.Parts) []lastWord {
		offer := asks(t, "c1", 3, 1000)
		offer.Slot = slotName
		if err := writeJSON(d.claimDir("c1"), claimFile, claimRecord{V: wire.Version, Offer: offer, Share: share}, true); err != nil {
			t.Fatal(err)
		}
		words, err := d.readopt(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return words
	}
	d := partedDaemon(t, 4)
	if words := left(d, "slot1_2@desk", &had); len(words) > 0 {
		t.Errorf("of a claim that goes on is said %+v", words)
	}
	if got := d.parts.of(d.keepers[1]); got == nil || *got != had {
		t.Errorf("the claim has %+v, and had %+v", got, had)
	}
	if k, refused := d.parts.take(asks(t, "c2", 2, 100)); k != nil || refused != "slot1@desk has 1 cpu left, and the job asks for 2 cpus" {
		t.Errorf("another job gets %v (%s)", k, refused)
	}
	for _, tt := range []struct {
		what  string
		d     *Daemon
		slot  string
		share *policy.Parts
	}{
		{"now even slots", bareDaemon(t), "slot1_2@desk", &had},
		{"now partitionable", partedDaemon(t, 4), "slot1@desk", nil},
		{"fewer at a time", partedDaemon(t, 1), "slot1_2@desk", &had},
	} {
		words := left(tt.d, tt.slot, tt.share)
		if len(words) != 1 || words[0].done.Claim != "c1" || words[0].done.Outcome != wire.Evicted || tt.d.keepers[0].tenant != nil {
			t.Errorf("%s: of the claim is said %+v", tt.what, words)
		}
	}
}
