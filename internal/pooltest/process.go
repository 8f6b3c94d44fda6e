package pooltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"skua/agent/checkpoint"
	"skua/agent/startd"
	"skua/agent/starter"
	"skua/internal/fit"
	"skua/internal/job"
)

// How long things take in a simulated machine.
const (
	dumpTakes    = 2 * time.Second
	restoreTakes = time.Second
	beatEvery    = 500 * time.Millisecond
	lonely       = time.Minute // for which an init without a job waits for an agent
)

// process is the simulated init of a claim with its job. It keeps the rules of package starter: it
// freezes its job when the agent is silent for [starter.Silence] or the lease is over, by itself, and
// lets it go on only for an agent that is there and holds a lease. All is guarded by the book's mu.
type process struct {
	machine *Machine
	dir     string
	job     *program // nil while none runs

	attached *handle // of the agent that holds it; nil for none
	silent   time.Time
	lease    job.Instant
	wish     bool    // the agent wants the job frozen
	held     bool    // the init wants it frozen
	dumping  *dump   // nil while no image is made
	cpus     float64 // that the job may have at most; 0 for all

	handles []*handle // all that there have been
	ended   bool
	dead    bool
	left    bool // it has ended because nobody came
	exit    starter.Exit

	finish, watch *time.Timer
}

// diedOfInstruction is the exit code of a shell whose program has died of SIGILL.
const diedOfInstruction = 132

// program is a job: so much work to do.
type program struct {
	id           job.ID
	nonce        uint64
	code         int // that it exits with
	length, done time.Duration
	since        time.Time // when it began to run; zero while it stands still
	ran          []string  // what the processors can do on which it has been
	level        fit.Baseline
	moved        bool // it has gone on from an image
}

// dump is an image that an init makes. It comes to an end with it, whether or not there still is an agent.
type dump struct {
	done chan struct{} // closed at the end; what follows is set then
	size int64
	err  error
}

// stretch is the run of x's job until now.
func (x *process) stretch(now time.Time) Run {
	return Run{Machine: x.machine.Name, Nonce: x.job.nonce, From: x.job.since, To: now, Done: x.job.done}
}

// settle makes the job run or stand still, as it should.
func (x *process) settle() {
	if x.job == nil {
		return
	}
	now := time.Now()
	runs := !x.dead && !x.wish && !x.held && x.dumping == nil && x.machine.moves()
	switch {
	case runs && x.job.since.IsZero():
		x.job.since = now
		x.machine.p.book.begins(x)
		job := x.job
		x.finish = time.AfterFunc(x.job.length-x.job.done, func() { x.complete(job) })
	case !runs && !x.job.since.IsZero():
		x.pause(now)
	}
}

// used is what the job has used of a processor by now.
func (j *program) used(now time.Time) time.Duration {
	if j.since.IsZero() {
		return j.done
	}
	return j.done + now.Sub(j.since)
}

func (x *process) pause(now time.Time) {
	x.finish.Stop()
	x.machine.p.book.ceases(x, now)
	x.machine.worked += now.Sub(x.job.since)
	x.job.done = x.job.used(now)
	x.job.since = time.Time{}
}

// complete ends the job by itself, unless it was stopped at the same instant.
func (x *process) complete(j *program) {
	mu := &x.machine.p.book.mu
	mu.Lock()
	defer mu.Unlock()
	if x.job != j || j.since.IsZero() || j.done+time.Since(j.since) < j.length {
		return
	}
	x.pause(time.Now())
	exit := starter.Exit{Job: j.id, Code: j.code, Usage: starter.Usage{User: j.done, Wall: j.done}}
	exit.Strayed = j.code == diedOfInstruction && j.moved && j.level != ""
	out := fmt.Sprintf("slept %v\n", j.done)
	if err := errors.Join(
		os.WriteFile(filepath.Join(x.dir, "scratch", job.StdoutFile), []byte(out), 0o600),
		os.WriteFile(filepath.Join(x.dir, "scratch", job.StderrFile), make([]byte, x.machine.p.cfg.Complains), 0o600),
	); err != nil {
		exit.Err = err.Error()
	}
	x.end(exit)
}

func (x *process) end(exit starter.Exit) {
	x.job = nil
	if !x.ended {
		x.exit, x.ended = exit, true
		for _, h := range x.handles {
			h.end()
		}
	}
}

// die ends the init with its job.
func (x *process) die(why string) {
	if x.dead {
		return
	}
	exit := starter.Exit{Err: why}
	if x.job != nil {
		exit.Job, exit.Usage = x.job.id, starter.Usage{User: x.job.done, Wall: x.job.done}
		if !x.job.since.IsZero() {
			x.pause(time.Now())
		}
	}
	x.dead, x.attached = true, nil
	x.watch.Stop()
	x.end(exit)
}

// guard freezes the job when the lease is over or the agent silent, and looks again when that may be.
func (x *process) guard() {
	if x.dead {
		return
	}
	left := x.lease.Sub(x.machine.clock())
	if x.attached == nil {
		left = min(left, starter.Silence-time.Since(x.silent))
	}
	if left <= 0 {
		x.held = true
	}
	x.settle()
	if left > 0 {
		x.watch.Reset(left)
	}
}

// release is what a sign of life of the agent does.
func (x *process) release() {
	if x.attached != nil && x.machine.clock() < x.lease {
		x.held = false
	}
	x.guard()
}

func (x *process) attach(a *agent) *handle {
	h := &handle{x: x, agent: a, done: make(chan struct{})}
	x.attached, x.handles = h, append(x.handles, h)
	if x.ended {
		h.end()
	}
	return h
}

func (x *process) detach(h *handle) {
	if h != nil && x.attached == h {
		since := time.Now()
		x.attached, x.silent = nil, since
		x.guard()
		time.AfterFunc(lonely, func() {
			defer h.lock()()
			if x.attached == nil && x.silent.Equal(since) && x.job == nil && !x.dead {
				x.die("no agent came")
				x.left = true
			}
		})
	}
}

// starterOf is the starter of a machine, in the hands of one run of its agent.
type starterOf struct {
	m *Machine
	a *agent
}

func (s starterOf) lock() func() {
	s.m.p.book.mu.Lock()
	return s.m.p.book.mu.Unlock
}

// Open implements [startd.Starter].
func (s starterOf) Open(_ context.Context, spec starter.ClaimSpec) (startd.Init, error) {
	dir := filepath.Join(s.m.dir, "claims", string(spec.Claim))
	for _, name := range []string{"scratch", "image"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	defer s.lock()()
	if s.a.killed {
		return nil, starter.ErrGone
	}
	x := &process{machine: s.m, dir: dir, lease: s.m.clock().Add(spec.Lease)}
	x.watch = time.AfterFunc(spec.Lease, func() { defer s.lock()(); x.guard() })
	s.m.inits[spec.Claim] = x
	return x.attach(s.a), nil
}

// Adopt implements [startd.Starter].
func (s starterOf) Adopt(_ context.Context, claim job.ClaimID) (startd.Init, error) {
	defer s.lock()()
	x := s.m.inits[claim]
	if x == nil || x.dead && x.exit.Err != "" {
		return nil, starter.ErrGone
	}
	h := x.attach(s.a)
	time.AfterFunc(beatEvery, func() { defer s.lock()(); x.release() })
	return h, nil
}

// Leftover implements [startd.Starter].
func (s starterOf) Leftover(claim job.ClaimID) (startd.Init, error) {
	defer s.lock()()
	x := s.m.inits[claim]
	if x == nil || !x.left {
		return nil, starter.ErrGone
	}
	if _, err := checkpoint.ReadMeta(filepath.Join(x.dir, "image")); err != nil {
		return nil, fmt.Errorf("%w: %w", starter.ErrGone, err)
	}
	return x.attach(s.a), nil
}

// Remove implements [startd.Starter].
func (s starterOf) Remove(claim job.ClaimID) error {
	unlock := s.lock()
	if s.a.killed {
		unlock()
		return starter.ErrGone
	}
	if x := s.m.inits[claim]; x != nil {
		x.die("the claim was removed")
		delete(s.m.inits, claim)
	}
	unlock()
	return os.RemoveAll(filepath.Join(s.m.dir, "claims", string(claim)))
}

// CanRun implements [startd.Starter].
func (starterOf) CanRun() error { return nil }

// CanCheckpoint implements [startd.Starter].
func (starterOf) CanCheckpoint() bool { return true }
