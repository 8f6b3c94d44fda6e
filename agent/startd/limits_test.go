package startd

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"skua/agent/starter"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// endedInit is an init whose job has ended.
type endedInit struct {
	Init
	exit    starter.Exit
	scratch string
}

func (endedInit) Kill() error { return nil }

func (endedInit) Close() {}

func (i endedInit) Scratch() string { return i.scratch }

func (i endedInit) ImageDir() string { return filepath.Join(i.scratch, "none") }

func (endedInit) Settle(context.Context) error { return nil }

func (i endedInit) Job() (job.ID, bool) { return i.exit.Job, false }

func (endedInit) Look(context.Context, int64) (starter.Reading, error) {
	return starter.Reading{}, starter.ErrNoJob
}

func (endedInit) LimitsMemory() bool { return true }

func (i endedInit) Exit() starter.Exit { return i.exit }

func (endedInit) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// bareDaemon is a daemon that is not running, on a machine with a little memory and disk and two slots.
func bareDaemon(t *testing.T) *Daemon {
	t.Helper()
	p, err := policy.Derive(policy.File{Preset: policy.Dedicated}) // which grants 90%
	if err != nil {
		t.Fatal(err)
	}
	facts := classad.NewAd()
	facts.SetInt("TotalMemory", 1000)
	facts.SetInt("TotalDisk", 20<<10)
	conn := bus.NewMemory().Connect("desk")
	t.Cleanup(func() { conn.Close() })
	d, err := New(Config{
		Agent: "agent", Machine: "desk", Dir: t.TempDir(), Slots: 2, Bus: conn, Starter: noStarter{errors.New("no sandbox here")}, Files: &Storage{},
		Policy: p, Clock: func() job.Instant { return 0 },
		Facts: func(context.Context) (*classad.Ad, error) { return facts, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A slot that has not changed yet has been as it is since the agent began, not since the year 1.
func TestNewSlotIsNew(t *testing.T) {
	before := time.Now().Unix()
	d := bareDaemon(t)
	ad := d.ads(time.Now())[0]
	for _, name := range []string{"EnteredCurrentState", "EnteredCurrentActivity"} {
		if at, ok := ad.Int(name); !ok || at < before || at > time.Now().Unix() {
			t.Errorf("%s is %d (%v), and the agent began at %d", name, at, ok, before)
		}
	}
}

// A job may take what its slot advertises. When it was ended for taking more, that is no result: a
// person must look at it.
func TestJobOverItsMemoryIsHeld(t *testing.T) {
	d := bareDaemon(t)
	k := d.keepers[1]
	if got := k.limits(); got != (limits{}) {
		t.Errorf("on a machine of which nothing is known the limits are %+v", got)
	}
	d.readFacts(t.Context())
	if got, want := k.limits(), (limits{Memory: 450 << 20, Disk: 9 << 20}); got != want {
		t.Errorf("the limits are %+v, want %+v", got, want)
	}
	ad := classad.NewAd()
	ad.SetString("Cmd", "x")
	tn := newTenant(k, wire.Offer{Job: job.ID{Cluster: 7}, Ad: ad}, "c1")
	tn.limits = k.limits()
	exit := starter.Exit{Signal: 9, OverMemory: true, Usage: starter.Usage{MaxRSS: 500 << 20}}
	done, ok := tn.finish(t.Context(), endedInit{exit: exit, scratch: t.TempDir()}, exit)
	if !ok || done.Outcome != wire.Hold || done.Code != job.HoldOutOfResources || done.Usage.MaxRSS != 500<<20 ||
		done.Reason != "the job used 524.3 MB of memory, and slot2@desk allows 471.9 MB; request_memory asks for a slot with more" {
		t.Errorf("the job's end is reported as %+v (%v)", done, ok)
	}
}
