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
	"skua/internal/job"
)

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

// ProcessorTime implements [startd.Init]. A job uses one processor while it runs.
func (h *handle) ProcessorTime() (time.Duration, error) {
	defer h.lock()()
	if h.x.job == nil {
		return 0, nil
	}
	return h.x.job.used(time.Now()), nil
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
	d, err := h.dump(keep)
	if err != nil {
		return checkpoint.Stats{}, err
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		return checkpoint.Stats{}, ctx.Err()
	}
	unlock := h.lock()
	killed := h.agent.killed
	unlock()
	if killed { // it does not live to see the end
		<-ctx.Done()
		return checkpoint.Stats{}, ctx.Err()
	}
	return checkpoint.Stats{Took: dumpTakes, Bytes: d.size}, d.err
}

// dump has the init begin with an image.
func (h *handle) dump(keep bool) (*dump, error) {
	defer h.lock()()
	x := h.x
	switch {
	case h.agent.killed:
		return nil, starter.ErrGone
	case x.job == nil:
		return nil, starter.ErrNoJob
	case x.dumping != nil:
		return nil, starter.ErrBusy
	}
	d, j := &dump{done: make(chan struct{})}, x.job
	x.wish, x.dumping = true, d
	x.settle()
	time.AfterFunc(dumpTakes, func() {
		defer h.lock()()
		x.dumping = nil
		if d.err = starter.ErrGone; x.job == j {
			d.size, d.err = x.image()
		}
		if d.err == nil && !keep {
			x.job = nil // what was dumped for good is dead
		}
		x.settle()
		close(d.done)
	})
	return d, nil
}

// image writes the image of the job. Called with the book's mu held.
func (x *process) image() (size int64, err error) {
	if why := x.machine.p.cfg.NoImages; why != "" {
		return 0, errors.New(why)
	}
	j := x.job
	state, err := json.Marshal(saved{j.id, j.nonce, j.code, j.length, j.done})
	if err != nil {
		return 0, err
	}
	meta, err := checkpoint.Meta{
		Pid: 2, LastPid: 2, FreePid: 2, Used: checkpoint.Usage{User: j.done, Wall: j.done}, Needs: x.machine.like.needs(j.ran, j.level),
	}.Append(nil)
	if err == nil {
		dir := filepath.Join(x.dir, "image")
		err = errors.Join(
			os.WriteFile(filepath.Join(dir, stateName), state, 0o600),
			os.WriteFile(filepath.Join(dir, checkpoint.MetaName), meta, 0o600),
		)
	}
	return int64(len(state)), err
}

// Settle implements [startd.Init].
func (h *handle) Settle(ctx context.Context) error {
	unlock := h.lock()
	x := h.x
	if h.agent.killed || x.dead {
		unlock()
		return starter.ErrGone
	}
	x.wish = true
	x.settle()
	d := x.dumping
	unlock()
	if d == nil {
		return nil
	}
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
