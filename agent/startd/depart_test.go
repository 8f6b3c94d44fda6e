package startd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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

// noFiles is a file service that notes what it is to store, and for which no tree will do.
type noFiles struct {
	Files
	stored *[]string
}

func (f noFiles) StoreImage(_ context.Context, _ func() string, _ []byte, _ string, names []string) (blob.Digest, int64, error) {
	*f.stored = names
	return "", 0, &blob.TreeError{Err: errors.New("nothing is stored here")}
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
			d.cfg.Starter, d.cfg.Files = criuStarter{has: tt.criu}, noFiles{stored: &stored}
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

// A job's own checkpoint is what it declared, however that is written; what it declared and did not make has it held.
func TestDeclaredCheckpoint(t *testing.T) {
	for _, tt := range []struct {
		declared, stored, held string
	}{
		{"state", "scratch/_condor_stdout scratch/state", ""},
		{"deep/,", "scratch/_condor_stdout scratch/deep", ""},
		{" ./state , state,deep/file", "scratch/_condor_stdout scratch/deep/file scratch/state", ""},
		{"state, gone", "", "checkpoint file gone and left without having made it; it left deep/, state"},
		{"../secret", "", "checkpoint file ../secret and left without"},
	} {
		for _, leaves := range []bool{false, true} {
			d := bareDaemon(t)
			var stored []string
			d.cfg.Starter, d.cfg.Files = criuStarter{}, noFiles{stored: &stored}
			exit := starter.Exit{Job: job.ID{Cluster: 7}, Code: 85}
			in := lateInit{endedInit{exit: exit, scratch: t.TempDir()}}
			write(t, filepath.Join(in.scratch, "state"), "")
			write(t, filepath.Join(in.scratch, "deep/file"), "")
			write(t, filepath.Join(in.scratch, job.StdoutFile), "")
			tn := newTenant(d.keepers[0], jobWith(t, fmt.Sprintf("SuccessCheckpointExitCode = 85\nTransferCheckpoint = %q", tt.declared)), "c1")
			var done wire.Done
			if leaves {
				done, _ = tn.depart(t.Context(), in, "it was asked to leave")
			} else {
				done, _ = tn.work(t.Context(), in)
			}
			if got := strings.Join(stored, " "); got != tt.stored {
				t.Errorf("of %q is stored %q, want %q", tt.declared, got, tt.stored)
			}
			if held := done.Outcome == wire.Hold; held != (tt.held != "") || held && (done.SubCode != errnoNoEntry || !strings.Contains(done.Reason, tt.held)) {
				t.Errorf("with %q declared the report is %+v", tt.declared, done)
			}
		}
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
