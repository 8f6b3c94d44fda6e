package starter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// jobID is the uid and gid of jobs where many ids are mapped. Not 65534: that owns, as seen from
// inside, every file of an unmapped owner.
const jobID = 1000

// firstPid is the first job's pid in its init. The init's own threads stay below, so that the pids of
// an image are free wherever it is restored.
const firstPid = 1000

// Linux's scheduling and out-of-memory values for jobs.
const (
	jobNice     = 19
	jobOOMScore = 1000
)

// start runs a job.
func (p *pid1) start(spec JobSpec, frozen bool) error {
	if err := p.prepare(frozen); err != nil {
		return err
	}
	if err := spec.check(); err != nil {
		return err
	}
	if err := raiseLastPid(firstPid - 1); err != nil {
		return err
	}
	files, err := p.openStdio(spec)
	defer closeAll(files)
	if err != nil {
		return err
	}
	env := jobEnv(spec.Env)
	dir := ScratchPath
	if spec.Dir != "" {
		if dir = spec.Dir; p.sharedDir(dir) == "" {
			return fmt.Errorf("the working directory %s is not shared with jobs", dir)
		}
	}
	path, err := p.lookPath(spec.Argv[0], dir, env)
	if err != nil {
		return err
	}

	p.reaping.Lock()
	defer p.reaping.Unlock()
	base := p.pastTraffic()
	pid, err := p.spawn(path, spec, &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job = &running{spec: spec, pid: pid, started: bootClock(), io: base, level: spec.Baseline}
	p.keepPace()
	return nil
}

// enterCgroups puts a process of the job where its limits are.
func (p *pid1) enterCgroups(pid int) error {
	if !p.hasCgroup() {
		return nil
	}
	for n := range 1 + p.cfg.Joins {
		fd := fdProcs
		if n > 0 {
			fd = fdJoins + n - 1
		}
		if err := writeAt0(fd, strconv.AppendInt(nil, int64(pid), 10)); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the claim ready for another job, which is to stand still from its first instruction if the
// agent says so.
func (p *pid1) prepare(frozen bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := bootClock()
	switch {
	case p.job != nil:
		return fmt.Errorf("job %v runs already: %w", p.job.spec.Job, ErrBusy)
	case now >= p.keep.lease:
		return ErrLeaseOver
	}
	if err := unix.Unlinkat(fdState, exitFile, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove the exit status of the last job: %w", err)
	}
	p.exit = nil
	// A cgroup left frozen by the last job would hold up the next one. One that the agent freezes from now on,
	// with our knowledge or before we have it, stays so.
	thaw := p.hasCgroup() && p.frozen && !frozen
	p.keep.start(now, frozen)
	p.frozen = frozen && p.hasCgroup()
	if thaw {
		return p.setFrozen(false)
	}
	return nil
}

// spawn starts a process and prepares it, stopped before its first instruction, for the life of a
// job. Called on the first thread with reaping held.
func (p *pid1) spawn(path string, spec JobSpec, attr *syscall.ProcAttr) (pid int, err error) {
	attr.Sys = &syscall.SysProcAttr{Setsid: true, Ptrace: true}
	if p.cfg.hasRuntime() {
		attr.Sys.Chroot = runtimePath
	}
	if p.cfg.Mapped {
		attr.Sys.Credential = &syscall.Credential{Uid: jobID, Gid: jobID}
	} else {
		// The only id there is is root's. Without the privileges of root on exec it has none.
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, secureNoRoot, 0, 0, 0); err != nil {
			return 0, fmt.Errorf("give up root's privileges: %w", err)
		}
		defer func() { err = errors.Join(err, unix.Prctl(unix.PR_SET_SECUREBITS, 0, 0, 0, 0)) }()
	}
	// Inherited by the child; lowering it again to what it was needs no privilege.
	restore := setOOMScore("self", jobOOMScore)
	defer restore()
	if !p.cfg.Prompt {
		setIOClass(ioIdle)
		defer setIOClass(ioNone)
	}

	// The agent wrote the program a moment ago, and what it forked meanwhile for another slot has the file open
	// for writing until its own exec.
	const patience, step = 5 * time.Second, 10 * time.Millisecond
	for began := time.Now(); ; time.Sleep(step) {
		pid, err = syscall.ForkExec(path, spec.Argv, attr)
		if !errors.Is(err, syscall.ETXTBSY) || time.Since(began) > patience {
			break
		}
	}
	if err != nil {
		if why := p.whyNot(path, err); why != "" {
			return 0, fmt.Errorf("execute %s: %s", spec.Argv[0], why)
		}
		return 0, fmt.Errorf("execute %s: %w", spec.Argv[0], err)
	}
	if err := p.ready(pid, spec); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _, _, _ = wait(pid, 0)
		return 0, fmt.Errorf("prepare the process of %s: %w", spec.Argv[0], err)
	}
	return pid, nil
}

// SECBIT_NOROOT and SECBIT_NO_SETUID_FIXUP, both locked; SECBIT_NO_CAP_AMBIENT_RAISE.
const secureNoRoot = 1<<0 | 1<<2 | 1<<6

// ready waits until the traced child pid stands at its first instruction, prepares it and lets go.
func (p *pid1) ready(pid int, spec JobSpec) error {
	for {
		got, ws, _, err := wait(pid, 0)
		if err != nil {
			return os.NewSyscallError("wait", err)
		}
		if got == pid && ws.Stopped() {
			if ws.StopSignal() == unix.SIGTRAP {
				break
			}
			_ = unix.PtraceCont(pid, int(ws.StopSignal()))
			continue
		}
		if ws.Signaled() && ws.Signal() == unix.SIGKILL { // by the kernel, short of memory, or by somebody
			return fmt.Errorf("it was killed before it began: %w", errMachine)
		}
		return fmt.Errorf("it ended before it began (status %#x)", uint32(ws))
	}
	if err := adoptOrphans(pid); err != nil {
		return err
	}
	if !p.cfg.Prompt {
		humble(pid)
	}
	if p.cfg.Memory > 0 {
		if err := limit(pid, unix.RLIMIT_DATA, uint64(p.cfg.Memory)); err != nil {
			return fmt.Errorf("limit memory: %w", err)
		}
	}
	if p.cfg.Pids > 0 {
		if err := limit(pid, unix.RLIMIT_NPROC, uint64(p.cfg.Pids)); err != nil {
			return fmt.Errorf("limit processes: %w", err)
		}
	}
	if err := spec.setLimits(pid); err != nil {
		return err
	}
	if err := p.enterCgroups(pid); err != nil {
		return fmt.Errorf("enter cgroup: %w", err)
	}
	if !p.hasCgroup() && p.unwanted() {
		_ = unix.Kill(pid, unix.SIGSTOP) // stands from the moment at which we let go
	}
	return os.NewSyscallError("ptrace", unix.PtraceDetach(pid))
}

// unwanted says whether the job is to stand still now.
func (p *pid1) unwanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keep.frozen()
}

// setLimits gives the process the limits that the job asks for, as far as the machine allows them.
func (s JobSpec) setLimits(pid int) error {
	core := uint64(s.Core)
	if s.Core < 0 {
		core = unix.RLIM_INFINITY
	}
	if err := limit(pid, unix.RLIMIT_CORE, core); err != nil {
		return fmt.Errorf("limit core files: %w", err)
	}
	if s.Stack > 0 {
		if err := lowerLimit(pid, unix.RLIMIT_STACK, s.Stack); err != nil {
			return fmt.Errorf("limit the stack: %w", err)
		}
	}
	return nil
}

// limit sets what a process may have of a resource for good, if it may not have less already.
func limit(pid, resource int, n uint64) error {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &old); err != nil {
		return os.NewSyscallError("prlimit", err)
	}
	most := min(n, old.Max)
	return os.NewSyscallError("prlimit", unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil))
}

// lowerLimit sets what a process, 0 for this one, has of a resource. What it may have at most stays.
func lowerLimit(pid, resource int, n int64) error {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &old); err != nil {
		return os.NewSyscallError("prlimit", err)
	}
	return os.NewSyscallError("prlimit", unix.Prlimit(pid, resource, &unix.Rlimit{Cur: min(uint64(n), old.Max), Max: old.Max}, nil))
}

// humble gives the process the lowest claim to the processor.
func humble(pid int) {
	// Neither can fail for a process of ours that lives; if it is gone, it does not matter.
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, jobNice)
	// With autogroups (the usual kernel setting on desktops) the value above only counts within the
	// session, and this one between sessions. Absent where the kernel has none.
	_ = writeControl(fmt.Sprintf("/proc/%d/autogroup", pid), strconv.AppendInt(nil, jobNice, 10))
}

// setOOMScore makes a process likelier to be killed when memory runs out, and returns how to undo it.
func setOOMScore(pid string, score int) (restore func()) {
	name := "/proc/" + pid + "/oom_score_adj"
	old, err := readControl(name)
	if err != nil || writeControl(name, strconv.AppendInt(nil, int64(score), 10)) != nil {
		return func() {}
	}
	return func() { _ = writeControl(name, old) }
}

// Classes of ioprio_set(2). Only schedulers of disks that have classes heed them.
const (
	ioNone = 0
	ioIdle = 3
)

// setIOClass says how this thread and what it starts from now on share the disks. It cannot fail for oneself.
func setIOClass(class uintptr) {
	const whoProcess, shift = 1, 13
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, class<<shift)
}

// openStdio opens the three files of a job, in scratch or /dev/null. They are the job's own.
func (p *pid1) openStdio(spec JobSpec) (files []*os.File, err error) {
	scratch, err := unix.Open(ScratchPath, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: ScratchPath, Err: err}
	}
	defer unix.Close(scratch)
	for i, name := range []string{spec.Stdin, spec.Stdout, spec.Stderr} {
		var f *os.File
		switch {
		case name == "":
			f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
		case i == 0 && spec.Dir != "":
			f, err = p.openShared(name)
		case i == 0:
			f, err = p.openScratch(scratch, name, unix.O_RDONLY)
		default:
			f, err = p.openScratch(scratch, name, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND)
		}
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// sharedDir is the shared directory that a path lies in, "" for none.
func (p *pid1) sharedDir(path string) string {
	for _, dir := range p.cfg.Shared {
		if path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			return dir
		}
	}
	return ""
}

// openShared opens a file in a shared directory for reading, following no link out of that.
func (p *pid1) openShared(path string) (*os.File, error) {
	failed := func(err error) (*os.File, error) { return nil, &os.PathError{Op: "open", Path: path, Err: err} }
	dir := p.sharedDir(path)
	if dir == "" {
		return failed(errors.New("it is not shared with jobs"))
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, strings.TrimLeft(path[len(dir):], "/"), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return failed(err)
	}
	return plainFile(fd, path, nil)
}

// plainFile makes a file of a descriptor that was opened without waiting, if it is a plain one. give, if
// there is one, is called with it.
func plainFile(fd int, path string, give func(fd int) error) (*os.File, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err == nil && give != nil {
		err = give(fd)
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openScratch opens a file within scratch, following no link out of it, and gives it to the job.
func (p *pid1) openScratch(scratch int, name string, flags int) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NONBLOCK), // a pipe left there must not stop us
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o644
	}
	fd, err := unix.Openat2(scratch, name, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return plainFile(fd, name, func(fd int) error {
		if !p.cfg.Mapped {
			return nil
		}
		return unix.Fchown(fd, jobID, jobID)
	})
}

// jobEnv completes a job's environment with what programs expect to find.
func jobEnv(env []string) []string {
	has := func(name string) bool {
		for _, v := range env {
			if strings.HasPrefix(v, name+"=") {
				return true
			}
		}
		return false
	}
	env = env[:len(env):len(env)]
	for _, d := range [][2]string{{"PATH", jobPath}, {"HOME", ScratchPath}, {"TMPDIR", "/tmp"}, {"USER", "skua"}, {"LOGNAME", "skua"}} {
		if !has(d[0]) {
			env = append(env, d[0]+"="+d[1])
		}
	}
	return env
}

// lookPath finds the program name as a job in the directory work with the environment env would.
func (p *pid1) lookPath(name, work string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		at := name
		if !filepath.IsAbs(at) {
			at = filepath.Join(work, name)
		}
		if _, err := p.stat(at); errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("execute %s: %w", name, errNoProgram)
		}
		return at, nil
	}
	for _, v := range env {
		path, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(path, ":") {
			at := filepath.Join(dir, name)
			if !filepath.IsAbs(at) {
				at = filepath.Join(work, at)
			}
			if mode, err := p.stat(at); err == nil && mode&unix.S_IFMT == unix.S_IFREG && mode&0o111 != 0 {
				return at, nil
			}
		}
	}
	return "", fmt.Errorf("execute %s: %w in the PATH of the job", name, errNoProgram)
}
