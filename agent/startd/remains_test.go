package startd

import (
	"errors"
	"testing"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// stuckStarter cannot end what claims have left.
type stuckStarter struct{ noStarter }

func (stuckStarter) Remove(job.ClaimID) error { return errors.New("it does not die") }

// TestConfirm asks an agent for claims. It says that nothing runs of one only where that is certain.
func TestConfirm(t *testing.T) {
	ad := classad.NewAd()
	ad.SetString("Cmd", "x")
	take := func(t *testing.T, d *Daemon) {
		t.Helper()
		k := d.keepers[0]
		k.offer = wire.Offer{Job: job.ID{Cluster: 7}, Claim: "c1", Slot: k.name, Ad: ad}
		k.slot.Tenancy = job.Tenancy{Claim: "c1", Job: job.ID{Cluster: 7}}
		if err := k.persistClaim(); err != nil {
			t.Fatal(err)
		}
	}
	lose := func(t *testing.T, d *Daemon) {
		t.Helper()
		k := d.keepers[0]
		take(t, d)
		d.remains.add("c1") // as step does
		k.slot.Tenancy = job.Tenancy{}
		k.forget()
		k.wg.Wait()
	}
	for name, c := range map[string]struct {
		before func(t *testing.T, d *Daemon)
		stuck  bool
		denied bool // that anything runs of the claim
		silent bool // about all claims
	}{
		"nobody knows it":           {func(*testing.T, *Daemon) {}, false, true, false},
		"a slot has it":             {take, false, false, false},
		"it has gone":               {lose, false, true, false},
		"its processes do not end":  {lose, true, false, false},
		"its report is not told":    {func(_ *testing.T, d *Daemon) { d.remains.add("c1") }, false, false, false},
		"another's is not told":     {func(_ *testing.T, d *Daemon) { d.remains.add("c2") }, false, true, false},
		"something remains, of any": {func(_ *testing.T, d *Daemon) { d.remains.addUnknown() }, false, false, true},
		"a slot will be given it":   {func(_ *testing.T, d *Daemon) { d.keepers[1].slot.Tenancy.Phase = job.Reporting }, false, false, true},
		"a slot takes it up again": {func(t *testing.T, d *Daemon) { // and its keeper does not run yet
			take(t, d)
			d.keepers[0].slot.Tenancy = job.Tenancy{}
			d.keepers[0].tenant = nil
			if _, err := d.readopt(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := bareDaemon(t)
			if c.stuck {
				d.cfg.Starter = stuckStarter{}
			}
			hub := bus.NewMemory()
			desk, head := hub.Connect("desk"), hub.Connect("matchmaker")
			defer desk.Close()
			defer head.Close()
			d.cfg.Bus = desk
			c.before(t, d)
			said := make(chan wire.Done, 8)
			if _, err := head.Subscribe(wire.AgentSubject("agent", wire.VerbDone), func(m bus.Msg) {
				done, err := wire.Decode[wire.Done](m.Data)
				if err != nil {
					t.Error(err)
				}
				said <- done
			}); err != nil {
				t.Fatal(err)
			}
			ref := wire.ClaimRef{Job: job.ID{Cluster: 7}, Claim: "c1", Epoch: 3}
			for _, m := range []any{
				wire.Control{V: wire.Version, ClaimRef: ref, Do: wire.ConfirmClaim},
				wire.Control{V: wire.Version, ClaimRef: wire.ClaimRef{Claim: "last"}, Do: wire.ConfirmClaim}, // which nobody knows
			} {
				data, err := wire.Encode(m)
				if err != nil {
					t.Fatal(err)
				}
				d.onControl(bus.Msg{Data: data})
			}
			if c.silent {
				if len(said) != 0 {
					t.Error("it says that nothing runs")
				}
				return
			}
			denied := false
			for {
				done := <-said
				if done.Claim == "last" {
					break
				}
				denied = done.ClaimRef == ref && done.Outcome == wire.Killed
			}
			if denied != c.denied {
				t.Errorf("it says that nothing runs: %v, want %v", denied, c.denied)
			}
		})
	}
}
