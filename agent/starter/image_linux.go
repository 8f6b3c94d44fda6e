package starter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
	"skua/internal/fit"
)

// errNoCheckpoints says that this claim was opened without a criu program.
var errNoCheckpoints = errors.New("checkpoints need criu, which this machine does not have")

// checkpoint dumps the job into the image directory. Unless keep is set, the job is gone afterwards;
// with it, it stays frozen. Scratch does not change between the freeze and the end.
func (p *pid1) checkpoint(ctx context.Context, keep bool) (*checkpoint.Stats, error) {
	start := time.Now()
	p.reaping.Lock()
	defer p.reaping.Unlock()
	p.mu.Lock()
	j := p.job
	p.mu.Unlock()
	switch {
	case p.cfg.Criu == "":
		return nil, errNoCheckpoints
	case j == nil:
		return nil, ErrNoJob
	}
	if err := p.freezeForDump(); err != nil {
		return nil, err
	}
	if err := errors.Join(outsideTree(j.pid), ownFilters(), p.checkConnections(), systemV("/proc/sysvipc")); err != nil {
		return nil, err
	}
	if err := emptyDir(fdImage); err != nil {
		return nil, err
	}
	m, err := p.describe(j)
	if err != nil {
		return nil, err
	}
	o := p.criuOptions()
	o.Pid, o.Keep = j.pid, keep
	if p.hasCgroup() {
		detach, err := p.attachCgroup()
		if err != nil {
			return nil, err
		}
		defer detach()
		o.FreezeCgroup = cgroupMount
	}
	before, spent := ownIO(), childrensTime()
	s, err := checkpoint.Dump(ctx, o)
	s.CPU = childrensTime() - spent // nobody else waits for anything now
	p.mu.Lock()
	j.io.add(ownIO().minus(before)) // CRIU's
	j.used.Checkpoints += s.CPU
	p.mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			p.mu.Lock()
			j.lost = err.Error() // it was killed in the middle
			p.mu.Unlock()
		}
		return nil, err
	}
	if !keep { // else CRIU has left it as it was
		killAll()
		p.mu.Lock()
		p.job = nil
		p.mu.Unlock()
	}
	m.Needs, m.Ran = p.needs(j)
	b, err := m.Append(nil)
	if err == nil {
		err = writeIn(fdImage, checkpoint.MetaName, b)
	}
	if err != nil {
		return nil, err
	}
	s.Took = time.Since(start)
	return &s, nil
}

// freezeForDump freezes the job where CRIU can dump it. A process that waits for its vfork child to
// execute a program cannot be traced until the child has, so it is given that moment.
func (p *pid1) freezeForDump() error {
	// One moment may be as bad as the other, so there are many. The later ones are longer: on a busy machine the child
	// may have to wait for its turn on a processor.
	const (
		tries   = 50
		longest = 100 * time.Millisecond
	)
	pause := time.Millisecond
	for try := range tries {
		p.mu.Lock()
		stopped, pending := p.frozen && !p.hasCgroup(), p.still.pending
		p.keep.wish, p.frozen, p.still.pending = true, true, false
		p.mu.Unlock()
		// A second SIGSTOP would stay pending and disturb CRIU; a SIGCONT takes it away. In a cgroup the agent may have
		// written before us, and writing again does no harm.
		if pending {
			if err := p.setFrozen(false); err != nil {
				return err
			}
		}
		if !stopped || pending || try > 0 {
			if err := p.setFrozen(true); err != nil {
				return err
			}
		}
		if err := p.awaitFrozen(); err != nil {
			return err
		}
		// The kernel counts a thread as frozen shortly before it has gone to sleep in a vfork.
		deadline := time.Now().Add(freezeLimit)
		running := threadsIn("R")
		for ; running > 0; running = threadsIn("R") {
			if time.Now().After(deadline) {
				return fmt.Errorf("%d threads have not stopped after %v", running, freezeLimit)
			}
			time.Sleep(50 * time.Microsecond)
		}
		if threadsIn("D") == 0 {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.leavePace() // CRIU thaws and looks into the claim's cgroup only
		}
		if err := p.setFrozen(false); err != nil {
			return err
		}
		time.Sleep(pause)
		if try >= tries/2 {
			pause = min(pause*5/4, longest)
		}
	}
	return errors.New("the job has a process in an uninterruptible wait")
}

// resume starts the job whose image is in the image directory.
func (p *pid1) resume(ctx context.Context, spec JobSpec, frozen bool) error {
	if p.cfg.Criu == "" {
		return errNoCheckpoints
	}
	if err := p.prepare(false); err != nil {
		return err
	}
	// It has to run to be restored; what the agent wants is applied when the job stands.
	p.mu.Lock()
	p.keep.wish, p.restored = frozen, true
	p.mu.Unlock()
	if p.hasCgroup() {
		if err := p.setFrozen(false); err != nil {
			return err
		}
	}
	m, err := readMeta()
	if err != nil {
		return err
	}
	if err := p.clock.set(m.Monotonic, m.Boottime); err != nil {
		return err
	}
	p.reaping.Lock()
	defer p.reaping.Unlock()
	// What is started from here on takes pids that the image does not need.
	if err := setLastPid(m.FreePid); err != nil {
		return err
	}
	started := bootClock()
	if !p.cfg.Prompt {
		setIOClass(ioIdle)
		defer setIOClass(ioNone)
	}
	spent := childrensTime()
	pid, err := checkpoint.Restore(ctx, p.criuOptions())
	m.Used.Checkpoints += childrensTime() - spent
	if err != nil {
		killAll()
		return err
	}
	if err := p.welcome(m); err != nil {
		killAll()
		return err
	}
	if !p.cfg.Prompt {
		humble(pid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job = &running{spec: spec, pid: pid, started: started, used: m.Used, io: p.traffic(), ran: fit.Union(m.Ran, m.Needs.Features), level: m.Needs.Baseline, beyond: m.Needs.Beyond, moved: true}
	p.keepPace()
	return nil
}

// childrensTime is the processor time of all children that this process has waited for.
func childrensTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// welcome makes a restored tree an ordinary job: in its cgroup, continued, with pids that follow.
func (p *pid1) welcome(m checkpoint.Meta) error {
	if err := setLastPid(m.LastPid); err != nil {
		return err
	}
	if p.hasCgroup() {
		// The tree runs already. What forks from a process that is inside is inside, so a pass that
		// meets nobody new is the last.
		seen := map[int]bool{1: true}
		for again := true; again; {
			again = false
			for _, pid := range pids() {
				if seen[pid] {
					continue
				}
				seen[pid], again = true, true
				if err := p.enterCgroups(pid); err != nil && !errors.Is(err, unix.ESRCH) {
					return fmt.Errorf("put the restored job into its cgroup: %w", err)
				}
			}
		}
	}
	if m.Stopped {
		if err := unix.Kill(-1, unix.SIGCONT); err != nil {
			return os.NewSyscallError("kill", err)
		}
	}
	return nil
}

func (p *pid1) criuOptions() checkpoint.Options {
	return checkpoint.Options{
		Path:       p.cfg.Criu,
		Dir:        fdImage,
		ConfigFile: criuConf,
		OwnNetwork: p.cfg.Network != NetHost,
		Filtered:   len(abis) > 0,
	}
}

// describe gathers what another machine must know about the frozen job.
func (p *pid1) describe(j *running) (checkpoint.Meta, error) {
	last, err := lastPid()
	if err != nil {
		return checkpoint.Meta{}, err
	}
	live := surveyJob().used
	used := j.used.Plus(live).Plus(p.traffic().since(j.io))
	used.Wall += bootClock() - j.started
	mono, boot := p.clock.now()
	return checkpoint.Meta{
		Pid: j.pid, LastPid: last, FreePid: freePid(tids()),
		Monotonic: mono, Boottime: boot,
		Stopped: !p.hasCgroup(),
		Used:    used,
	}, nil
}

// attachCgroup shows the job's cgroup at cgroupMount, where CRIU can thaw it, until detach is called.
// The job, frozen meanwhile, never sees it: in a namespace with a single id it could thaw itself.
func (p *pid1) attachCgroup() (detach func(), err error) {
	err = elsewhere(func() error {
		return unix.MoveMount(p.cgTree, "", unix.AT_FDCWD, cgroupMount, unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
	if err != nil {
		return nil, fmt.Errorf("attach the job's cgroup: %w", err)
	}
	return func() {
		err := elsewhere(func() error {
			// A mount that was attached cannot be detached again and kept, but its clone can be.
			clone, err := unix.OpenTree(unix.AT_FDCWD, cgroupMount, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			if err != nil {
				return err
			}
			unix.Close(p.cgTree)
			p.cgTree = clone
			return unix.Unmount(cgroupMount, unix.MNT_DETACH)
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, "detach the job's cgroup:", err)
		}
	}, nil
}

// checkConnections refuses a job with connections that could not go along.
func (p *pid1) checkConnections() error {
	if p.cfg.Network != NetOutbound {
		return nil // there are none, or CRIU says so itself
	}
	return farConnections()
}

// systemV says what the job has of System V's interprocess communication, by the kernel's lists in dir. CRIU
// complains of memory that a process is attached to, and does not see anything else: it would be gone.
func systemV(dir string) error {
	for _, kind := range []struct{ list, what string }{
		{"shm", "a System V shared memory segment"},
		{"sem", "a set of System V semaphores"},
		{"msg", "a System V message queue"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, kind.list))
		if err == nil && bytes.Count(text, []byte("\n")) > 1 { // below the heads of the columns
			return errors.New("it holds " + kind.what)
		}
	}
	return nil
}

// elsewhere does something on a thread that the filter does not bind: any but the first, to which this
// program's main goroutine is locked.
func elsewhere(do func() error) error {
	done := make(chan error)
	go func() { done <- do() }()
	return <-done
}

// outsideTree refuses a job that CRIU would dump only in part: processes whose parents have ended
// are the init's children, not in the tree of the job's first process.
func outsideTree(root int) error {
	for _, pid := range pids() {
		if pid == 1 || pid == root {
			continue
		}
		st, err := readStat(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && st.ppid == 1 && st.state != 'Z' && st.state != 'X' {
			return fmt.Errorf("process %d has left the job's process tree, so the job cannot be checkpointed", pid)
		}
	}
	return nil
}

// readMeta reads the description of the image in the image directory.
func readMeta() (checkpoint.Meta, error) {
	fd, err := unix.Openat(fdImage, checkpoint.MetaName, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return checkpoint.Meta{}, fmt.Errorf("there is no image: %w", err)
	}
	f := os.NewFile(uintptr(fd), checkpoint.MetaName)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return checkpoint.Meta{}, fmt.Errorf("read image: %w", err)
	}
	m, err := checkpoint.ParseMeta(b)
	if err != nil {
		return checkpoint.Meta{}, err
	}
	if m.Arch != runtime.GOARCH {
		return checkpoint.Meta{}, fmt.Errorf("the image was made on %s, this machine is %s", m.Arch, runtime.GOARCH)
	}
	return m, nil
}

// emptyDir removes what is in a flat directory.
func emptyDir(dir int) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("empty the image directory: %w", err)
	}
	d := os.NewFile(uintptr(fd), imageName)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, n := range names {
		err = errors.Join(err, unix.Unlinkat(dir, n, 0))
	}
	if err != nil {
		return fmt.Errorf("empty the image directory: %w", err)
	}
	return nil
}
