package startd

import (
	"errors"
	"io/fs"
	"os"
	"testing"

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
