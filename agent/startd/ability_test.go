package startd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"skua/agent/starter"
	"skua/policy"
)

// A machine whose self test took too long at its start is not left without jobs until the next one.
func TestTestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := starter.Capabilities{TimedOut: true, SandboxWhy: "the test took too long"}
		tests := 0
		m := &Machine{test: func(context.Context) starter.Capabilities {
			if tests++; tests < 3 {
				return late
			}
			return starter.Capabilities{Sandbox: true}
		}}
		m.can.Store(&late)
		told, begun := 0, time.Now()
		m.testAgain(t.Context(), func(context.Context) { told++ })
		if can := m.can.Load(); !can.Sandbox || tests != 3 || told != 3 || time.Since(begun) != 3*testEach {
			t.Errorf("%+v after %d tests, told of %d, in %v", can, tests, told, time.Since(begun))
		}
		m.testAgain(t.Context(), func(context.Context) { t.Error("what is known was tested again") })
	})
}

func TestTestAgainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := starter.Capabilities{TimedOut: true}
		m := &Machine{test: func(context.Context) starter.Capabilities { return late }}
		m.can.Store(&late)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.testAgain(ctx, func(context.Context) {})
		}()
		time.Sleep(25 * time.Minute) // of simulated time
		stop()
		<-ended
	})
}

// The network of the policy in force decides whether jobs can run, that of the first one does not.
func TestAbilitiesFollowThePolicy(t *testing.T) {
	with := func(n policy.Network) *policy.Policy { return &policy.Policy{Network: n} }
	for _, tt := range []struct {
		name string
		can  starter.Capabilities
		runs map[policy.Network]bool
	}{
		{
			"a machine without a way out",
			starter.Capabilities{Sandbox: true, OutboundWhy: "there is no pasta"},
			map[policy.Network]bool{policy.NetworkNone: true, policy.NetworkOutbound: false, policy.NetworkHost: true},
		},
		{
			"a system that keeps no job off the network",
			starter.Capabilities{Sandbox: true, OpenNetwork: true, Outbound: "host"},
			map[policy.Network]bool{policy.NetworkNone: false, policy.NetworkOutbound: false, policy.NetworkHost: true},
		},
		{
			"a machine without a sandbox",
			starter.Capabilities{SandboxWhy: "no namespaces"},
			map[policy.Network]bool{policy.NetworkNone: false, policy.NetworkHost: false},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &Machine{}
			m.can.Store(&tt.can)
			for first := range tt.runs {
				m.SetPolicy(with(first))
				m.abilities()
				for now, want := range tt.runs {
					m.SetPolicy(with(now))
					m.mu.Lock() // as SetPolicy does while it waits for keepers, which ask
					can := m.abilities()
					m.mu.Unlock()
					if can.Sandbox != want || want != (can.SandboxWhy == "") {
						t.Errorf("after network %q and then %q jobs can run: %v, want %v (%s)", first, now, can.Sandbox, want, can.SandboxWhy)
					}
				}
			}
		})
	}
}
