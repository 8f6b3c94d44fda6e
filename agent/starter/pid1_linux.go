package starter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/fit"
)

// What this program is called when it is executed again.
const (
	initName  = "skua-init"
	probeName = "skua-probe"
)

// Descriptors an init inherits, in this order. Those from fdProcs on are there when it has a cgroup.
const (
	fdConfig = 3 + iota // pipe with its initConfig
	fdListen            // unix socket at which agents find it
	fdState             // its directory
	fdImage             // directory of checkpoints
	fdProcs             // cgroup.procs, cgroup.freeze and cgroup.events of the job's cgroup
	fdFreeze
	fdEvents
	fdJoins // cgroup.procs of each of its cgroups of v1
)

func init() {
	if filepath.Base(os.Args[0]) == initName {
		// The time namespace of an init's children is a property of the thread that starts them, and
		// its offsets can be written for the first thread only. So that thread starts everything.
		runtime.LockOSThread()
	}
}

// MaybeInit takes over when this process is not what its main believes, but a claim's init or a part
// of the self test. Then it does not return. It must be called before anything else.
func MaybeInit() {
	switch filepath.Base(os.Args[0]) {
	case initName:
		os.Exit(initMain())
	case probeName:
		os.Exit(probeMain())
	}
}

// pid1 is a claim's init. Its first thread (run) starts processes and waits for CRIU; other
// goroutines talk to the agent, wait for ended processes, and guard the lease.
type pid1 struct {
	cfg    initConfig
	cgTree int            // detached mount of the job's cgroup, or -1
	clock  timeNamespace  // that of the job
	work   chan task      // for the first thread; a slot is free unless p.busy
	ended  chan os.Signal // SIGCHLD
	nudge  chan struct{}  // wakes guard

	looking atomic.Bool // a look is under way

	// reaping is held by whoever waits for children. Taken before mu.
	reaping sync.Mutex

	mu       sync.Mutex    // guards what follows
	conn     *net.UnixConn // to the agent, or nil
	keep     keeping       // on the boot clock
	frozen   bool          // what was last applied
	still    stillness     // of a job that is frozen by signals
	busy     bool          // the first thread is at work; only it may touch the job then
	settled  []func()      // to be done when it no longer is
	job      *running      // nil when there is none
	exit     *Exit         // of the last job
	restored bool          // a job has come from an image, and its clocks with it
	pace     *pacer        // nil: the job is not throttled, or not by us
	pacing   bool          // a goroutine sees to it
	choked   bool          // the job stands still for its share's sake

	boot string // which run of the machine this is
	keys string // what the kernel's keyrings had of the job's user at the start
}

// task is something for the first thread to do, and what to say when it is ready for more.
type task struct{ do, done func() }

// running is a job that has not ended.
type running struct {
	spec    JobSpec
	pid     int
	started time.Duration // on the boot clock
	used    Usage         // in earlier lives, and by what has been waited for
	io      traffic       // what was counted of disk and network when it began
	lost    string        // why its end, when it comes, is not its own doing
	ran     []string      // what the processors can do on which it ran in earlier lives
	level   fit.Baseline  // what its programs keep to, as far as has been seen
	beyond  string        // why they do not keep to what was asked for
	moved   bool          // it has come from an image
}

func initMain() int {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, initName+": only an agent can start a claim's init")
		return 2
	}
	// A descriptor that leaks into a job makes its checkpoint fail.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, "close descriptors:", err)
		return 1
	}
	// An agent that rests does without huge pages (see package footprint); its jobs need not.
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "allow huge pages:", err)
		return 1
	}
	// Signals from inside must not end us, nor be ignored in the children.
	signal.Notify(make(chan os.Signal, 1))
	p := &pid1{cgTree: -1, work: make(chan task, 1), ended: make(chan os.Signal, 1), nudge: make(chan struct{}, 1)}
	signal.Notify(p.ended, unix.SIGCHLD)

	// At most one thread runs Go code besides the one that starts processes: an init is small.
	runtime.GOMAXPROCS(2)
	l, err := p.setup()
	if l == nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return 1
	}
	p.run(l, err)
	return 0
}

// setup enters the sandbox. With a listener there is somebody to tell the error to.
func (p *pid1) setup() (*net.UnixListener, error) {
	if err := unix.Listen(fdListen, 8); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	f := os.NewFile(fdListen, "listener")
	fl, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("take over listener: %w", err)
	}
	l, ok := fl.(*net.UnixListener)
	if !ok {
		return nil, errors.New("the listener is no unix socket")
	}
	l.SetUnlinkOnClose(false)
	c := os.NewFile(fdConfig, "config")
	defer c.Close()
	if err := json.NewDecoder(io.LimitReader(c, maxMessage)).Decode(&p.cfg); err != nil {
		return l, fmt.Errorf("read configuration: %w", err)
	}
	os.Clearenv()
	os.Setenv("PATH", "/usr/local/sbin:/usr/sbin:/sbin:"+jobPath) // for CRIU
	now := bootClock()
	p.keep = keeping{lease: now + p.cfg.Lease, lastBeat: now}
	unix.Umask(0o022)
	if err := lowerLimit(0, unix.RLIMIT_CORE, 0); err != nil { // a job that wants core files gets a limit of its own
		return l, fmt.Errorf("forbid core files: %w", err)
	}
	if p.cgTree, err = enterSandbox(&p.cfg); err != nil {
		return l, err
	}
	// Only now: it holds for this thread and for what it starts, CRIU included, which has all the
	// rights it needs already.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return l, fmt.Errorf("forbid new privileges: %w", err)
	}
	p.clock.read()
	// The threads that there are by now keep what they have, and would keep alive what the first job leaves.
	if err := newIPC(); err != nil {
		return l, err
	}
	p.boot, p.keys = bootID(), keysOf(p.jobUID())
	// Last: it forbids some of the above.
	if p.cfg.hasRuntime() {
		// We put the job's processes, and CRIU those that it restores, into a root of their own. They have not got the
		// capability that it takes.
		return l, takeFilter(unix.SYS_CHROOT)
	}
	return l, takeFilter()
}

// run serves until there is nothing left to do. It runs on the first thread. When setup has failed,
// the first agent to ask is told so.
func (p *pid1) run(l *net.UnixListener, failed error) {
	go p.accept(l, failed)
	go p.guard()
	go func() {
		for range p.ended {
			p.reap()
		}
	}()
	for t := range p.work {
		t.do()
		p.settle()
		t.done() // only now: the answer may be followed at once by the next request
	}
}

// begin hands t to the first thread, unless that has something to do.
func (p *pid1) begin(t task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy {
		return ErrBusy
	}
	p.busy = true
	p.wake()
	p.work <- t
	return nil
}

// long is what the first thread does for a request.
func (p *pid1) long(m, answer *message) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(m.TimeoutMS)*time.Millisecond)
	defer cancel()
	switch {
	case m.Op == opFresh:
		return p.fresh()
	case m.Op == opCheckpoint:
		s, err := p.checkpoint(ctx, m.Keep)
		answer.Stats = s
		return err
	case m.Job == nil:
		return errors.New("no job was described")
	}
	if m.Fresh {
		if err := p.fresh(); err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrUsed) {
			return fmt.Errorf("%w: %w", ErrUsed, err) // whatever it is, a new init has not got it
		} else if err != nil {
			return err
		}
	}
	if m.LeaseMS > 0 {
		p.grant(time.Duration(m.LeaseMS) * time.Millisecond)
	}
	if m.Op == opResume {
		return p.resume(ctx, *m.Job, m.Frozen)
	}
	return p.start(*m.Job, m.Frozen)
}

// settle brings the job to where it should be after the first thread has finished with it.
func (p *pid1) settle() {
	p.mu.Lock()
	p.busy = false
	p.still = stillness{next: bootClock() + lookSoon, pending: p.still.pending} // what the first thread did is not the job's doing
	if !p.pacing {
		p.keepPace()
	}
	p.apply()
	p.wake()
	todo := p.settled
	p.settled = nil
	p.mu.Unlock()
	for _, do := range todo {
		do()
	}
	p.reap() // what ended in the meantime
}

// status is called with mu held.
func (p *pid1) status() *status {
	s := &status{Frozen: p.keep.wish, Exit: p.exit, Restored: p.restored}
	if p.job != nil {
		s.Job, s.Pid, s.Running = p.job.spec.Job, p.job.pid, true
	} else if p.exit != nil {
		s.Job = p.exit.Job
	}
	return s
}

// look reads what the job has used and uses.
func (p *pid1) look(limit int64) (*Reading, error) {
	p.mu.Lock()
	if p.job == nil {
		p.mu.Unlock()
		return nil, ErrNoJob
	}
	used, started, io := p.job.used, p.job.started, p.job.io
	p.mu.Unlock()
	now := surveyJob()
	r := &Reading{Used: used.Plus(now.used), Memory: now.memory, Pids: now.threads, Runnable: &now.atWork}
	if r.Memory > limit {
		r.Memory, r.Swapped = exactMemory()
	}
	r.Used.Wall += bootClock() - started
	r.Used = r.Used.Plus(p.traffic().since(io))
	return r, nil
}

func (p *pid1) signal(sig int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.job == nil {
		return ErrNoJob
	}
	if err := unix.Kill(p.job.pid, unix.Signal(sig)); err != nil {
		return fmt.Errorf("send signal %d to the job: %w", sig, err)
	}
	return nil
}
