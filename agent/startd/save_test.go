package startd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/job"
	"skua/policy"
)

// hangingInit is an init whose job's image is never complete. It notes how long that was waited for.
type hangingInit struct {
	endedInit
	waited *time.Duration
}

func (i hangingInit) ImageDir() string { return i.scratch }

func (i hangingInit) Checkpoint(ctx context.Context, _ bool) (checkpoint.Stats, error) {
	begun := time.Now()
	<-ctx.Done()
	*i.waited = time.Since(begun)
	return checkpoint.Stats{}, ctx.Err()
}

// The larger a job, the longer its image may take; a job that leaves has the time that the policy grants it in any case.
func TestTimeForAnImage(t *testing.T) {
	for _, tt := range []struct {
		name          string
		memory        int64
		vacate        time.Duration
		leaves, saved time.Duration
	}{
		{"a small job", 1 << 20, time.Minute, 5 * time.Minute, 5 * time.Minute},
		{"a large one", 60 << 30, time.Minute, 5*time.Minute + 12288*time.Second, 5*time.Minute + 12288*time.Second},
		{"a policy that gives it long", 1 << 20, time.Hour, time.Hour, 5 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := bareDaemon(t)
				d.rules.Store(&policy.Policy{MaxVacateTime: tt.vacate})
				tn := newTenant(d.keepers[0], jobWith(t, ""), "c1")
				tn.used.MaxRSS = tt.memory
				tn.since = time.Now()
				var waited time.Duration
				in := hangingInit{endedInit{scratch: t.TempDir()}, &waited}
				if _, err := tn.takeImage(t.Context(), in, "asked"); !errors.Is(err, context.DeadlineExceeded) || waited != tt.leaves {
					t.Errorf("when it leaves its image is waited for for %v (%v), want %v", waited, err, tt.leaves)
				}
				if _, _, err := tn.snapshot(t.Context(), in, t.TempDir()); !errors.Is(err, context.DeadlineExceeded) || waited != tt.saved {
					t.Errorf("while it runs its image is waited for for %v (%v), want %v", waited, err, tt.saved)
				}
			})
		})
	}
}

// savedInit is an init whose job can be checkpointed, unless there is an error.
type savedInit struct {
	endedInit
	err error
}

func (i savedInit) ImageDir() string { return filepath.Join(filepath.Dir(i.scratch), imageName) }

func (savedInit) Thaw() error { return nil }

func (i savedInit) Checkpoint(context.Context, bool) (checkpoint.Stats, error) {
	meta, err := checkpoint.Meta{Pid: 2, LastPid: 2, FreePid: 2}.Append(nil)
	return checkpoint.Stats{}, errors.Join(i.err, err, os.WriteFile(filepath.Join(i.ImageDir(), checkpoint.MetaName), meta, 0o600))
}

// A job that could not be checkpointed when that was tried may be able to later: it is tried again, no sooner than any other is
// saved, and when it can, that is told.
func TestSavedAfterAFailedTrial(t *testing.T) {
	const why = "it has 1 connections to other machines"
	d := bareDaemon(t)
	d.readFacts(t.Context())
	d.rules.Store(&policy.Policy{Periodic: true, MinInterval: 10 * time.Minute, MaxInterval: time.Hour})
	var stored []string
	d.cfg.Starter, d.cfg.Files = criuStarter{has: true}, noFiles{stored: &stored}
	d.cfg.CopyTree = func(context.Context, string, string) error { return nil }
	tn := newTenant(d.keepers[0], jobWith(t, ""), "c1")
	dir := t.TempDir()
	in := savedInit{endedInit{scratch: filepath.Join(dir, scratchName)}, errors.New(why)}
	if err := errors.Join(os.Mkdir(in.Scratch(), 0o700), os.Mkdir(in.ImageDir(), 0o700)); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tn.since, tn.trial = now.Add(-11*time.Minute), &job.Trial{Failed: why}
	if !tn.saveDue(now) {
		t.Error("a job that failed its trial is not tried again")
	}
	tn.save(t.Context(), in)
	if got := tn.tested().Failed; got != why {
		t.Errorf("after it has failed again it is said %q", got)
	}
	if tn.saveDue(time.Now().Add(9 * time.Minute)) {
		t.Error("it is tried again before its time")
	}
	if !tn.saveDue(time.Now().Add(2 * time.Hour)) {
		t.Error("it is not tried a third time")
	}
	in.err = nil
	tn.save(t.Context(), in)
	tn.stopSaving()
	if got := tn.tested().Failed; got != "" {
		t.Errorf("it has been saved, and it is said %q", got)
	}
}
