package pooltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
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
	wish     bool // the agent wants the job frozen
	held     bool // the init wants it frozen
	dumping  bool
	cpus     float64 // that the job may have at most; 0 for all

	handles []*handle // all that there have been
	ended   bool
	dead    bool
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
	runs := !x.dead && !x.wish && !x.held && !x.dumping && x.machine.moves()
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

func (x *process) pause(now time.Time) {
	x.finish.Stop()
	x.machine.p.book.ceases(x, now)
	x.job.done += now.Sub(x.job.since)
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
		os.WriteFile(filepath.Join(x.dir, "scratch", job.StderrFile), nil, 0o600),
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
		x.attached, x.silent = nil, time.Now()
		x.guard()
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

// handle is an agent's hold on a process. A killed agent does nothing more, whatever its goroutines
// still try.
type handle struct {
	x     *process
	agent *agent
	done  chan struct{}
	ended bool // done is closed
}

// end is called with the book's mu held.
func (h *handle) end() {
	if !h.ended {
		h.ended = true
		close(h.done)
	}
}

func (h *handle) lock() func() {
	h.x.machine.p.book.mu.Lock()
	return h.x.machine.p.book.mu.Unlock
}

// Processes implements [startd.Init].
func (*handle) Processes() starter.Processes { return starter.Processes{} }

// Scratch implements [startd.Init].
func (h *handle) Scratch() string {
	defer h.lock()()
	if h.agent.killed {
		return filepath.Join(h.x.dir, "out of reach")
	}
	return filepath.Join(h.x.dir, "scratch")
}

// ImageDir implements [startd.Init].
func (h *handle) ImageDir() string { return filepath.Join(h.x.dir, "image") }

// stateName is the file in which an image keeps the job.
const stateName = "job.json"

// saved is the content of that file.
type saved struct {
	Job          job.ID
	Nonce        uint64
	Code         int
	Length, Done time.Duration
}

// Refresh implements [startd.Init].
func (h *handle) Refresh(context.Context) error {
	defer h.lock()()
	x := h.x
	if x.dead || x.attached != h || x.job != nil {
		return starter.ErrGone
	}
	for _, name := range []string{"scratch", "image"} {
		dir := filepath.Join(x.dir, name)
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			return err
		}
	}
	return nil
}

// Run implements [startd.Init].
func (h *handle) Run(_ context.Context, spec starter.JobSpec) error {
	length, err := time.ParseDuration(spec.Argv[len(spec.Argv)-1])
	if err != nil {
		return fmt.Errorf("run %q: %w", spec.Argv, err)
	}
	code := 0
	if len(spec.Argv) > 2 {
		if code, err = strconv.Atoi(spec.Argv[1]); err != nil {
			return fmt.Errorf("run %q: %w", spec.Argv, err)
		}
	}
	defer h.lock()()
	if spec.Lease > 0 {
		h.x.lease = h.x.machine.clock().Add(spec.Lease)
	}
	return h.begin(&program{id: spec.Job, nonce: rand.Uint64(), code: code, length: length, level: spec.Baseline})
}

// Resume implements [startd.Init].
func (h *handle) Resume(ctx context.Context, spec starter.JobSpec) error {
	data, err := os.ReadFile(filepath.Join(h.ImageDir(), stateName))
	if err != nil {
		return err
	}
	var s saved
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if s.Job != spec.Job {
		return fmt.Errorf("image of job %v for job %v", s.Job, spec.Job)
	}
	meta, err := checkpoint.ReadMeta(h.ImageDir())
	if err != nil {
		return err
	}
	if err := spend(ctx, restoreTakes); err != nil {
		return err
	}
	if fails := h.x.machine.p.cfg.Restores; fails != nil {
		if err := fails(s.Done); err != nil {
			return err
		}
	}
	if h.x.machine.like.CannotRestore {
		return errors.New("criu restore: there is no such kind of memory")
	}
	defer h.lock()()
	if spec.Lease > 0 {
		h.x.lease = h.x.machine.clock().Add(spec.Lease)
	}
	if why := h.x.machine.like.misfit(meta.Needs); why != "" {
		b := &h.x.machine.p.book
		b.violations = append(b.violations, fmt.Sprintf("%v: job %v goes on on %s, but %s", time.Now(), s.Job, h.x.machine.Name, why))
	}
	return h.begin(&program{id: s.Job, nonce: s.Nonce, code: s.Code, length: s.Length, done: s.Done, ran: meta.Needs.Features, level: meta.Needs.Baseline, moved: true})
}

// begin is called with the book's mu held.
func (h *handle) begin(j *program) error {
	x := h.x
	if x.dead || x.attached != h {
		return starter.ErrGone
	}
	if x.ended {
		x.ended = false
		for _, h := range x.handles {
			h.ended, h.done = false, make(chan struct{})
		}
	}
	x.job, x.exit = j, starter.Exit{}
	x.guard()
	return nil
}

// Job implements [startd.Init].
func (h *handle) Job() (job.ID, bool) {
	defer h.lock()()
	if h.x.job == nil {
		return h.x.exit.Job, false
	}
	return h.x.job.id, true
}

// Frozen implements [startd.Init].
func (h *handle) Frozen() bool {
	defer h.lock()()
	return h.x.wish
}

// Freeze implements [startd.Init].
func (h *handle) Freeze() error {
	defer h.lock()()
	if h.agent.killed {
		return starter.ErrGone
	}
	h.x.wish = true
	h.x.settle()
	return nil
}

// Thaw implements [startd.Init].
func (h *handle) Thaw() error {
	defer h.lock()()
	if h.agent.killed {
		return starter.ErrGone
	}
	h.x.wish = false
	h.x.release()
	if h.x.held {
		return starter.ErrLeaseOver
	}
	return nil
}

// Throttle implements [startd.Init].
func (h *handle) Throttle(_ context.Context, cpus float64) error {
	defer h.lock()()
	switch {
	case h.agent.killed || h.x.dead:
		return starter.ErrGone
	case h.x.machine.p.cfg.NoThrottle && cpus > 0:
		return errors.ErrUnsupported
	}
	h.x.cpus = max(0, cpus)
	return nil
}

// Grant implements [startd.Init].
func (h *handle) Grant(left time.Duration) error {
	defer h.lock()()
	if h.agent.killed {
		return starter.ErrGone
	}
	h.x.lease = h.x.machine.clock().Add(left)
	h.x.release()
	return nil
}

// Checkpoint implements [startd.Init].
func (h *handle) Checkpoint(ctx context.Context, keep bool) (checkpoint.Stats, error) {
	unlock := h.lock()
	x := h.x
	if h.agent.killed {
		unlock()
		return checkpoint.Stats{}, starter.ErrGone
	}
	x.wish, x.dumping = true, true
	x.settle()
	j := x.job
	unlock()
	if j == nil {
		return checkpoint.Stats{}, starter.ErrNoJob
	}
	err := spend(ctx, dumpTakes)
	defer h.lock()()
	x.dumping = false
	if why := x.machine.p.cfg.NoImages; why != "" && err == nil {
		return checkpoint.Stats{}, errors.New(why)
	}
	if err != nil || x.job != j || h.agent.killed {
		return checkpoint.Stats{}, fmt.Errorf("the dump was interrupted: %w", errors.Join(err, starter.ErrGone))
	}
	state, err := json.Marshal(saved{j.id, j.nonce, j.code, j.length, j.done})
	if err != nil {
		return checkpoint.Stats{}, err
	}
	meta, err := checkpoint.Meta{
		Pid: 2, LastPid: 2, FreePid: 2, Used: checkpoint.Usage{User: j.done, Wall: j.done}, Needs: x.machine.like.needs(j.ran, j.level),
	}.Append(nil)
	if err == nil {
		err = errors.Join(
			os.WriteFile(filepath.Join(h.ImageDir(), stateName), state, 0o600),
			os.WriteFile(filepath.Join(h.ImageDir(), checkpoint.MetaName), meta, 0o600),
		)
	}
	if !keep {
		x.job = nil // what was dumped for good is dead
	}
	return checkpoint.Stats{Took: dumpTakes, Bytes: int64(len(state))}, err
}

// spend lets d pass, unless ctx ends.
func spend(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Look implements [startd.Init].
func (h *handle) Look(context.Context, int64) (starter.Reading, error) {
	defer h.lock()()
	x := h.x
	if h.agent.killed || x.job == nil {
		return starter.Reading{}, starter.ErrNoJob
	}
	used := x.job.done
	if !x.job.since.IsZero() {
		used += time.Since(x.job.since)
	}
	return starter.Reading{Used: starter.Usage{User: used, Wall: used}}, nil
}

// LimitsMemory implements [startd.Init].
func (h *handle) LimitsMemory() bool { return true }

// Signal implements [startd.Init]. These jobs save nothing by themselves.
func (h *handle) Signal(int) error { return errors.ErrUnsupported }

// Kill implements [startd.Init].
func (h *handle) Kill() error {
	defer h.lock()()
	if h.agent.killed {
		return nil
	}
	h.x.die("the claim was killed with its job")
	return nil
}

// Done implements [startd.Init].
func (h *handle) Done() <-chan struct{} {
	defer h.lock()()
	return h.done
}

// Exit implements [startd.Init].
func (h *handle) Exit() starter.Exit {
	defer h.lock()()
	return h.x.exit
}

// Close implements [startd.Init].
func (h *handle) Close() {
	defer h.lock()()
	h.x.detach(h)
}

var (
	_ startd.Starter = starterOf{}
	_ startd.Init    = (*handle)(nil)
)
