package startd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/checkpoint"
	"skua/agent/starter"
	"skua/internal/job"
	"skua/policy"
	"skua/policy/classad"
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

// tightInit is an init whose job has so much memory now, in all.
type tightInit struct {
	savedInit
	has starter.Reading
	err error
}

func (i tightInit) Look(context.Context, int64) (starter.Reading, error) { return i.has, i.err }

// The image of a job that leaves does not fill the disk.
func TestRoomForAnImage(t *testing.T) {
	const much = 1 << 50
	for _, tt := range []struct {
		name string
		peak int64
		has  starter.Reading
		err  error
		want bool
	}{
		{"a small job", 1 << 20, starter.Reading{Memory: much}, nil, true}, // which is not asked for its memory
		{"one that was large", much, starter.Reading{Memory: 1 << 20}, nil, true},
		{"one that is", much, starter.Reading{Memory: much}, nil, false},
		{"and is in the swap", much, starter.Reading{Swapped: much}, nil, false},
		{"one that nobody can measure", much, starter.Reading{}, starter.ErrNoJob, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tn, in := savable(t)
			if err := os.MkdirAll(tn.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			tn.used.MaxRSS = tt.peak
			dumped := false
			in.dumping = func(context.Context) { dumped = true }
			_, err := tn.takeImage(t.Context(), tightInit{in, tt.has, tt.err}, "asked")
			if dumped != tt.want || (err == nil) != tt.want {
				t.Errorf("it is dumped: %v (%v), want %v", dumped, err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), "the disk has no room for its image: that takes 1.1 PB") {
				t.Errorf("the user is told %q", err)
			}
			if _, noted := tn.taken(); noted != tt.want {
				t.Errorf("the next agent finds that it was dumped: %v", noted)
			}
		})
	}
}

// savedInit is an init whose job can be checkpointed, unless there is an error.
type savedInit struct {
	endedInit
	err     error
	dumping func(ctx context.Context)
}

func (i savedInit) ImageDir() string { return filepath.Join(filepath.Dir(i.scratch), imageName) }

func (savedInit) Thaw() error { return nil }

func (savedInit) Freeze() error { return nil }

func (i savedInit) Checkpoint(ctx context.Context, _ bool) (checkpoint.Stats, error) {
	if i.dumping != nil {
		i.dumping(ctx)
	}
	meta, err := checkpoint.Meta{Pid: 2, LastPid: 2, FreePid: 2}.Append(nil)
	return checkpoint.Stats{}, errors.Join(i.err, err, os.WriteFile(filepath.Join(i.ImageDir(), checkpoint.MetaName), meta, 0o600))
}

// savable is a tenant whose job, in the init, can be saved.
func savable(t *testing.T) (*tenant, savedInit) {
	t.Helper()
	d := bareDaemon(t)
	d.readFacts(t.Context())
	d.rules.Store(&policy.Policy{Periodic: true, MinInterval: 10 * time.Minute, MaxInterval: time.Hour, Machine: classad.NewAd()})
	d.cfg.Starter, d.cfg.Files = criuStarter{has: true}, noFiles{stored: new([]string)}
	d.cfg.CopyTree = func(context.Context, string, string) error { return nil }
	in := savedInit{endedInit{scratch: filepath.Join(t.TempDir(), scratchName)}, nil, nil}
	if err := errors.Join(os.Mkdir(in.Scratch(), 0o700), os.Mkdir(in.ImageDir(), 0o700)); err != nil {
		t.Fatal(err)
	}
	tn := newTenant(d.keepers[0], jobWith(t, ""), "c1")
	tn.since = time.Now().Add(-11 * time.Minute)
	return tn, in
}

// Whoever wants the job to stand still or to leave does not wait until its files are copied for an image, nor are they
// copied from then on. The dump itself goes on: it would end the job.
func TestNoImageForWhoWaits(t *testing.T) {
	for name, come := range map[string]func(*tenant){
		"the owner":          (*tenant).freeze,
		"the owner's pause":  func(tn *tenant) { tn.part(departure{why: "the owner pauses"}) },
		"the owner's memory": func(tn *tenant) { tn.yield(true) },
	} {
		for _, when := range []string{"dump", "copy"} {
			t.Run(name+" while it makes a "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tn, in := savable(t)
					copies := 0
					tn.k.d.cfg.CopyTree = func(ctx context.Context, _, _ string) error {
						copies++
						come(tn)
						<-ctx.Done()
						return errors.New("signal: killed")
					}
					if when == "dump" {
						in.dumping = func(ctx context.Context) {
							come(tn)
							if synctest.Wait(); ctx.Err() != nil {
								t.Error("the dump is cut short")
							}
						}
					}
					begun := time.Now()
					tn.save(t.Context(), in)
					if took := time.Since(begun); took != 0 || tn.saves.stop != nil || copies != map[string]int{"copy": 1}[when] {
						t.Errorf("it was waited for for %v, copied %d times; an image is sent: %v", took, copies, tn.saves.stop != nil)
					}
					if _, err := os.Stat(filepath.Join(tree(in), savingName)); err == nil {
						t.Error("a part of an image stays")
					}
					tn.mu.Lock()
					defer tn.mu.Unlock()
					if tn.hurry != nil {
						t.Error("somebody is still told to hurry")
					}
				})
			})
		}
	}
}

// A job does not stand still for ever while its files are copied to a disk that is busy.
func TestSlowCopyIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn, in := savable(t)
		tn.disk.had = 1 << 30
		var given error
		tn.k.d.cfg.CopyTree = func(ctx context.Context, _, _ string) error {
			select {
			case <-ctx.Done():
				given = context.Cause(ctx)
			case <-time.After(time.Hour):
			}
			return errors.New("signal: killed")
		}
		begun := time.Now()
		tn.save(t.Context(), in)
		if took, want := time.Since(begun), imageTime(1<<30); took != want || given != errSlowCopy || tn.saves.stop != nil {
			t.Errorf("it stood still for %v (%v), want %v; an image is sent: %v", took, given, want, tn.saves.stop != nil)
		}
	})
}

// Where jobs do not begin while the network costs, none that runs is sent over it.
func TestNoImageOverMeteredNetwork(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		rule    policy.Metered
		metered *bool
		want    bool
	}{
		{policy.MeteredNever, &no, true},
		{policy.MeteredNever, &yes, false},
		{policy.MeteredNever, nil, false},
		{policy.MeteredAlways, &yes, true},
		{policy.MeteredAlways, nil, true},
	} {
		tn, _ := savable(t)
		tn.k.d.policy().OnMetered = tt.rule
		said := "undefined"
		if tt.metered != nil {
			tn.k.d.policy().Machine.SetBool("Metered", *tt.metered)
			said = strconv.FormatBool(*tt.metered)
		}
		if got := tn.saveDue(time.Now()); got != tt.want {
			t.Errorf("with on_metered = %q and Metered %s an image is due: %v", tt.rule, said, got)
		}
	}
	if p, err := policy.Derive(policy.File{Preset: policy.Laptop}); err != nil || p.OnMetered != policy.MeteredNever {
		t.Errorf("on a laptop the rule is %q (%v)", p.OnMetered, err)
	}
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
	in := savedInit{endedInit{scratch: filepath.Join(dir, scratchName)}, errors.New(why), nil}
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
