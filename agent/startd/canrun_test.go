package startd

import (
	"context"
	"errors"
	"testing"
	"time"

	"skua/agent/slot"
	"skua/agent/starter"
	"skua/internal/bus"
	"skua/internal/job"
	"skua/policy"
	"skua/policy/classad"
)

// A machine whose sandbox does not work belongs to its owner whatever the policy says, and tells why.
func TestMachineThatCannotRunJobs(t *testing.T) {
	always, err := policy.Derive(policy.File{Preset: policy.Dedicated})
	if err != nil {
		t.Fatal(err)
	}
	why := "user namespaces are forbidden"
	for _, tt := range []struct {
		name    string
		starter Starter
		state   slot.State
	}{
		{"works", RealStarter{Can: can(starter.Capabilities{Sandbox: true})}, slot.Unclaimed},
		{"sandbox is broken", RealStarter{Can: can(starter.Capabilities{SandboxWhy: why})}, slot.Owner},
		{"system without a sandbox", noStarter{errors.New(why)}, slot.Owner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := bus.NewMemory().Connect("desk")
			defer conn.Close()
			d, err := New(Config{
				Agent: "agent", Machine: "desk", Dir: t.TempDir(), Bus: conn, Starter: tt.starter, Files: &Storage{},
				Policy: always, Clock: func() job.Instant { return 0 },
				Facts: func(context.Context) (*classad.Ad, error) { return classad.NewAd(), nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			k := d.keepers[0]
			k.look(t.Context())
			if got := k.state().State; got != tt.state {
				t.Errorf("the slot is %v, want %v", got, tt.state)
			}
			ad, runs := k.ad(time.Now(), k.state()), tt.state == slot.Unclaimed
			if can, ok := ad.Bool("CanRunJobs"); !ok || can != runs {
				t.Errorf("CanRunJobs is %v (%v), want %v", can, ok, runs)
			}
			if start, ok := ad.Bool("START"); !ok || start != runs {
				t.Errorf("START is %v (%v), want %v", start, ok, runs)
			}
			if got, ok := ad.Str("CannotRunJobsReason"); ok == runs || !runs && got != why {
				t.Errorf("CannotRunJobsReason is %q (%v)", got, ok)
			}
			anything := classad.NewAd()
			anything.SetBool("Requirements", true)
			if got := classad.Match(ad, anything); got != runs {
				t.Errorf("it matches a job that takes any machine: %v, want %v", got, runs)
			}
		})
	}
}

func can(c starter.Capabilities) func() starter.Capabilities {
	return func() starter.Capabilities { return c }
}
