package startd

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"skua/agent/slot"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// A claim that nobody has granted in time leaves nothing behind: neither its file, nor something for which an agent that
// ends would wait.
func TestUngrantedClaimIsForgotten(t *testing.T) {
	d := bareDaemon(t)
	k := d.keepers[0]
	ad := classad.NewAd()
	ad.SetString("Cmd", "x")
	k.offer = wire.Offer{Job: job.ID{Cluster: 7}, Claim: "c1", Slot: k.name, Ad: ad}
	if err := k.persistClaim(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.claimDir("c1")); err != nil {
		t.Fatal(err)
	}
	k.forget()
	k.wg.Wait() // as run does, when the agent ends
	if _, err := os.Stat(d.claimDir("c1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the claim had on the disk is still there: %v", err)
	}
}

// A claim ends once, and says that it is this one which has ended: whether its job could not be run, or was told to
// leave before its grant came.
func TestClaimEndsOnce(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		d := bareDaemon(t)
		k := d.keepers[0]
		k.offer = wire.Offer{Job: job.ID{Cluster: 7}, Claim: "c1", Slot: k.name, Ad: classad.NewAd()} // that names no program
		if err := k.persistClaim(); err != nil {
			t.Fatal(err)
		}
		want := wire.Hold
		if leaves {
			k.tenant.kill("it was asked to leave")
			want = wire.Evicted
		}
		k.tenant.start(t.Context())
		k.wg.Wait()
		if got := k.tenant.reported().Outcome; got != want {
			t.Errorf("the report says %s, want %s", got, want)
		}
		if len(k.events) != 1 {
			t.Fatalf("there are %d events", len(k.events))
		}
		ev := (<-k.events)(time.Now(), 0)
		if ended, ok := ev.(slot.Ended); !ok || ended.Claim != "c1" {
			t.Errorf("the event is %T%+v", ev, ev)
		}
	}
}

// Of a claim that is given up while its job is being ended nothing is reported, whatever came of that.
func TestDiscardedClaimReportsNothing(t *testing.T) {
	d := bareDaemon(t)
	k := d.keepers[0]
	k.offer = wire.Offer{Job: job.ID{Cluster: 7}, Claim: "c1", Slot: k.name, Ad: classad.NewAd()}
	if err := k.persistClaim(); err != nil {
		t.Fatal(err)
	}
	k.tenant.dropped.Store(true) // as discard does
	k.tenant.start(t.Context())
	k.wg.Wait()
	if got := k.tenant.reported().Outcome; got != "" || len(k.events) > 0 {
		t.Errorf("the report says %q, and there are %d events", got, len(k.events))
	}
}
