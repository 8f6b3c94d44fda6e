package startd

import (
	"context"
	"strings"
	"testing"

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
	exit starter.Exit
}

func (endedInit) Kill() error { return nil }

func (endedInit) Close() {}

func (i endedInit) Exit() starter.Exit { return i.exit }

func (endedInit) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// A job may take what its slot advertises. When it was ended for taking more, that is no result: a
// person must look at it.
func TestJobOverItsMemoryIsHeld(t *testing.T) {
	p, err := policy.Derive(policy.File{Preset: policy.Dedicated}) // which grants 90%
	if err != nil {
		t.Fatal(err)
	}
	facts := classad.NewAd()
	facts.SetInt("TotalMemory", 1000)
	conn := bus.NewMemory().Connect("desk")
	defer conn.Close()
	d, err := New(Config{
		Agent: "agent", Machine: "desk", Dir: t.TempDir(), Slots: 2, Bus: conn, Starter: noStarter{}, Files: &Storage{},
		Policy: p, Clock: func() job.Instant { return 0 },
		Facts: func(context.Context) (*classad.Ad, error) { return facts, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	tn := newTenant(d.keepers[1], wire.Offer{Job: job.ID{Cluster: 7}})
	if got := tn.limits(); got != (starter.Limits{}) {
		t.Errorf("on a machine of which nothing is known the limits are %+v", got)
	}
	d.readFacts(t.Context())
	if got, want := tn.limits(), int64(450<<20); got.Memory != want {
		t.Errorf("the limit is %d bytes, want %d", got.Memory, want)
	}
	exit := starter.Exit{Signal: 9, OverMemory: true}
	done, ok := tn.finish(t.Context(), endedInit{exit: exit}, exit)
	if !ok || done.Outcome != wire.Hold || done.Code != job.HoldOutOfResources ||
		!strings.Contains(done.Reason, "more memory than the 450 MiB that slot2@desk has") {
		t.Errorf("the job's end is reported as %+v (%v)", done, ok)
	}
}
