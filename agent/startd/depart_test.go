package startd

import (
	"context"
	"strings"
	"testing"

	"skua/agent/checkpoint"
	"skua/agent/starter"
	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

// criuStarter is a starter of a machine with CRIU, or without.
type criuStarter struct {
	noStarter
	has bool
}

func (c criuStarter) CanCheckpoint() bool { return c.has }

// lateInit is an init whose job had ended before it could be asked to leave.
type lateInit struct{ endedInit }

func (lateInit) Freeze() error { return nil }

func (lateInit) Thaw() error { return nil }

func (lateInit) Signal(int) error { return starter.ErrNoJob }

func (lateInit) Checkpoint(context.Context, bool) (checkpoint.Stats, error) {
	return checkpoint.Stats{}, starter.ErrNoJob
}

// heldFiles is a file service that notes what it is to store, and for which every job is to be held.
type heldFiles struct {
	Files
	stored *[]string
}

func (f heldFiles) StoreImage(_ context.Context, _ func() string, _ []byte, _ string, names []string) (blob.Digest, int64, error) {
	*f.stored = names
	return "", 0, &holdError{reason: "nothing is stored here"}
}

// A job that ends just as it is asked to leave has its result, or the checkpoint that it has saved itself.
func TestEndsAsItIsAskedToLeave(t *testing.T) {
	for _, tt := range []struct {
		name, attributes string
		criu             bool
		exit             starter.Exit
		outcome          wire.Outcome
		stored           string // as its own checkpoint
	}{
		{"with CRIU", "", true, starter.Exit{Code: 3}, wire.Exited, ""},
		{"without", "", false, starter.Exit{Code: 3}, wire.Exited, ""},
		{"its init was killed", "", true, starter.Exit{Err: "the claim was killed with its job"}, wire.Evicted, ""},
		{"a job that saves itself", "SuccessCheckpointExitCode = 85", true, starter.Exit{Code: 3}, wire.Exited, ""},
		{"and has", "SuccessCheckpointExitCode = 85", true, starter.Exit{Code: 85}, wire.Evicted, "scratch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := bareDaemon(t)
			var stored []string
			d.cfg.Starter, d.cfg.Files = criuStarter{has: tt.criu}, heldFiles{stored: &stored}
			tt.exit.Job = job.ID{Cluster: 7}
			tn := newTenant(d.keepers[0], jobWith(t, tt.attributes), "c1")
			done, ok := tn.depart(t.Context(), lateInit{endedInit{exit: tt.exit, scratch: t.TempDir()}}, "it was asked to leave")
			if !ok || done.Outcome != tt.outcome || (done.Result != nil) != (tt.outcome == wire.Exited) {
				t.Errorf("the report is %+v (%v), want %v", done, ok, tt.outcome)
			}
			if done.Result != nil && done.Result.ExitCode != tt.exit.Code {
				t.Errorf("the exit code is %d, want %d", done.Result.ExitCode, tt.exit.Code)
			}
			if got := strings.Join(stored, " "); got != tt.stored {
				t.Errorf("stored was %q, want %q", got, tt.stored)
			}
		})
	}
}

// jobWith is the offer of a job with these attributes.
func jobWith(t *testing.T, attributes string) wire.Offer {
	t.Helper()
	ad, err := classad.ParseOldAd("Cmd = \"x\"\n" + attributes)
	if err != nil {
		t.Fatal(err)
	}
	offer := asks(t, "c1", 1, 1)
	offer.Ad = ad
	return offer
}
