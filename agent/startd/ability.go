package startd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"skua/agent/starter"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/pause"
	"skua/policy"
)

// newStarter makes the machine's starter, and what finds out by trying what it can do. A system without one
// still has an agent, which says why it runs nothing.
func (m *Machine) newStarter(dir string) (Starter, func(context.Context) starter.Capabilities, error) {
	st, err := starter.New(starter.Config{
		Dir: dir, CriuPath: m.settings.Criu, CgroupBase: m.settings.Cgroup, UIDBase: m.settings.UIDBase,
		Secret: membership.KeyPath(MembershipDir(m.settings.Dir)), Log: m.log,
	})
	if errors.Is(err, errors.ErrUnsupported) {
		why := "this system (" + runtime.GOOS + ") has no sandbox for jobs yet"
		can := starter.Capabilities{SandboxWhy: why, CheckpointWhy: why}
		return noStarter{errors.New(why)}, func(context.Context) starter.Capabilities { return can }, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("prepare to run jobs: %w", err)
	}
	return RealStarter{st, m.abilities}, st.Capabilities, nil
}

// abilities is what the machine can do now: what was tested, and the network of the policy in force.
func (m *Machine) abilities() starter.Capabilities {
	return granted(*m.can.Load(), m.Policy().Network)
}

// granted is what is left of what a machine can do when jobs are to have that network.
func granted(can starter.Capabilities, network policy.Network) starter.Capabilities {
	switch {
	case can.Sandbox && network == policy.NetworkOutbound && can.Outbound == "":
		can.Sandbox, can.SandboxWhy = false, "the policy gives jobs the network outbound, and "+can.OutboundWhy
	case can.Sandbox && can.OpenNetwork && network != policy.NetworkHost:
		can.Sandbox = false
		can.SandboxWhy = fmt.Sprintf("this system (%s) cannot keep jobs off the network, and the policy does not grant it: limits.network = %q",
			runtime.GOOS, policy.NetworkHost)
	}
	return can
}

// testEach is how long after a test that took too long the next one is made.
const testEach = 10 * time.Minute

// testAgain tries again what the machine can do as long as that is not known because a test took too long, as
// it does on a machine that is busy with its start.
func (m *Machine) testAgain(ctx context.Context, changed func(context.Context)) {
	for m.can.Load().TimedOut && pause.For(ctx, testEach) == nil {
		can := m.test(ctx)
		if ctx.Err() != nil {
			return
		}
		m.can.Store(&can)
		changed(ctx)
	}
}

// abilitiesChanged has the ads say what the machine can do now.
func (d *Daemon) abilitiesChanged(ctx context.Context) {
	d.readFacts(ctx)
	d.lookAgain()
}

// RealStarter is a starter.Starter as a [Starter].
type RealStarter struct {
	*starter.Starter
	Can func() starter.Capabilities // as they are now
}

// Open implements [Starter].
func (r RealStarter) Open(ctx context.Context, spec starter.ClaimSpec) (Init, error) {
	return r.Starter.Open(ctx, spec)
}

// Adopt implements [Starter].
func (r RealStarter) Adopt(ctx context.Context, claim job.ClaimID) (Init, error) {
	return r.Starter.Adopt(ctx, claim)
}

// Leftover implements [Starter].
func (r RealStarter) Leftover(claim job.ClaimID) (Init, error) { return r.Starter.Leftover(claim) }

// CanRun implements [Starter].
func (r RealStarter) CanRun() error {
	can := r.Can()
	if can.Sandbox {
		return nil
	}
	return errors.New(can.SandboxWhy)
}

// CanCheckpoint implements [Starter].
func (r RealStarter) CanCheckpoint() bool { return r.Can().Checkpoint }

// noStarter stands in where this system has no sandbox for jobs.
type noStarter struct{ why error }

// Open implements [Starter].
func (n noStarter) Open(context.Context, starter.ClaimSpec) (Init, error) { return nil, n.why }

// Adopt implements [Starter].
func (n noStarter) Adopt(context.Context, job.ClaimID) (Init, error) {
	return nil, fmt.Errorf("%w: %w", starter.ErrGone, n.why)
}

// Leftover implements [Starter].
func (n noStarter) Leftover(job.ClaimID) (Init, error) {
	return nil, fmt.Errorf("%w: %w", starter.ErrGone, n.why)
}

// Remove implements [Starter].
func (noStarter) Remove(job.ClaimID) error { return nil }

// CanRun implements [Starter].
func (n noStarter) CanRun() error { return n.why }

// CanCheckpoint implements [Starter].
func (noStarter) CanCheckpoint() bool { return false }
