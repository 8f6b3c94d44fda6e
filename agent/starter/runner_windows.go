package starter

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/windows"

	"skua/internal/job"
)

// What this program is called when it is executed again.
const (
	runnerName = "skua-runner"
	probeName  = "skua-probe"
)

// MaybeInit takes over when this process is not what its main believes, but a claim's runner or a part of the
// self test. Then it does not return. It must be called before anything else.
func MaybeInit() {
	switch strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") {
	case runnerName:
		os.Exit(runnerMain())
	case probeName:
		os.Exit(probeMain())
	}
}

// runnerConfig is what a runner is told at its birth, through its standard input.
type runnerConfig struct {
	V      int           `json:"v"`
	Claim  job.ClaimID   `json:"claim"`
	Dir    string        `json:"dir"` // of the claim
	Lease  time.Duration `json:"lease_ns"`
	Limits Limits        `json:"limits"`
	Shared []string      `json:"shared,omitempty"`
	Prompt bool          `json:"prompt,omitempty"`
}

// address is where a runner is found, in a file that only the agent may read.
type address struct {
	V      int     `json:"v"`
	TCP    string  `json:"tcp"`
	Secret string  `json:"secret"` // hexadecimal
	Pid    uint32  `json:"pid"`
	Born   int64   `json:"born"` // when that process was made: its number may be another's by now
	Job    uintptr `json:"job"`  // its handle of the job object
}

const addressFile = "address.json"

// runner is a claim's init on Windows: a process with a console of its own that holds the job object. It
// freezes and thaws the claim's job, and ends with it.
type runner struct {
	cfg    runnerConfig
	secret []byte
	object *jobObject
	token  windows.Token
	nudge  chan struct{} // wakes guard

	mu    sync.Mutex // guards what follows, and the object
	conn  net.Conn   // to the agent, or nil
	gone  chan struct{}
	keep  keeping
	still bool // the job is suspended
	owed  []winSignal
	job   *winJob
	exit  *Exit
}

// winJob is a job that has not ended.
type winJob struct {
	spec    JobSpec
	process *os.Process
	handle  windows.Handle
	started time.Duration
	counted Usage // by the object, before this job
}

func runnerMain() int {
	if err := runRunner(); err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		return 1
	}
	return 0
}

func runRunner() error {
	r := &runner{nudge: make(chan struct{}, 1)}
	if err := json.NewDecoder(io.LimitReader(os.Stdin, maxMessage)).Decode(&r.cfg); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	// CTRL_C is for the job. That we have a handler keeps it from ending us; that we do not ignore it keeps
	// the job from inheriting that.
	if ok, _, err := setConsoleCtrlHandler.Call(0, 0); ok == 0 {
		return os.NewSyscallError("SetConsoleCtrlHandler", err)
	}
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	now := bootClock()
	r.keep = keeping{lease: now + r.cfg.Lease, lastBeat: now}
	var err error
	if r.object, err = newJobObject(r.cfg.Limits, r.cfg.Prompt); err != nil {
		return err
	}
	if r.token, err = jobToken(r.cfg.Claim); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := r.publish(l.Addr().String()); err != nil {
		return err
	}
	go r.guard()
	r.accept(l) // until the process ends
	return nil
}

var setConsoleCtrlHandler = kernel32.NewProc("SetConsoleCtrlHandler")

// publish writes the address file, and tells the agent that it is there.
func (r *runner) publish(tcp string) error {
	r.secret = make([]byte, secretSize)
	_, _ = rand.Read(r.secret)
	born, err := processBorn(windows.CurrentProcess())
	if err != nil {
		return err
	}
	err = writeJSON(filepath.Join(r.cfg.Dir, stateName, addressFile), address{
		V: protocol, TCP: tcp, Secret: hex.EncodeToString(r.secret), Pid: uint32(os.Getpid()), Born: born, Job: uintptr(r.object.h),
	})
	if err != nil {
		return err
	}
	_, err = fmt.Println(readyWord)
	os.Stdout.Close()
	return err
}

// readyWord is what a runner says when it can be reached.
const readyWord = "ready"

// accept takes one agent at a time. A second one is turned away while the first shows signs of life.
func (r *runner) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of memory, perhaps; there is nobody to tell
			continue
		}
		_ = c.SetDeadline(time.Now().Add(Silence)) // nobody else can connect meanwhile
		if greetAgent(c, r.secret) != nil {
			c.Close()
			continue
		}
		_ = c.SetDeadline(time.Time{})
		if !r.take(c) {
			refuse(c, errOtherAgent, goneWait)
		}
	}
}

// take makes c the connection to the agent, unless there is one.
func (r *runner) take(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		// One that was killed leaves an end of a connection of which serve hears a moment later.
		gone := r.gone
		r.mu.Unlock()
		wait := time.NewTimer(goneWait)
		select {
		case <-gone:
		case <-wait.C:
		}
		wait.Stop()
		r.mu.Lock()
	}
	if r.conn != nil {
		if bootClock()-r.keep.lastBeat < Silence {
			return false
		}
		r.conn.Close()
	}
	r.conn, r.gone = c, make(chan struct{})
	go r.serve(c, r.gone)
	return true
}

// goneWait is how long a runner waits for news that the agent before is gone.
const goneWait = 200 * time.Millisecond

// serve answers one agent until it goes.
func (r *runner) serve(c net.Conn, gone chan struct{}) {
	defer func() {
		c.Close()
		r.mu.Lock()
		if r.conn == c {
			r.conn = nil
		}
		r.mu.Unlock()
		close(gone)
	}()
	for {
		m, err := readMessage(c)
		if err != nil {
			return
		}
		r.mu.Lock()
		answer := r.handle(m)
		r.mu.Unlock()
		if answer != nil {
			r.say(c, answer)
		}
	}
}

// say sends m. An agent that does not read is cut off.
func (r *runner) say(c net.Conn, m *message) {
	_ = c.SetWriteDeadline(time.Now().Add(Silence))
	if writeMessage(c, m) != nil {
		c.Close()
	}
}

// handle carries out one request, and gives the answer. Called with mu held.
func (r *runner) handle(m *message) *message {
	answer := &message{ID: m.ID}
	now := bootClock()
	r.keep.heard(now)
	var err error
	switch m.Op {
	case opBeat:
		r.keep.beat(now, m.Frozen)
		if err := r.apply(); err != nil {
			fmt.Fprintln(os.Stderr, "freeze or thaw:", err)
		}
		r.wake()
		return nil
	case opHello:
		answer.Status = r.status()
	case opGrant:
		r.keep.grant(now, time.Duration(m.LeaseMS)*time.Millisecond)
	case opRun:
		if m.LeaseMS > 0 {
			r.keep.grant(now, time.Duration(m.LeaseMS)*time.Millisecond)
		}
		err = r.start(m.Job, m.Frozen)
	case opFreeze:
		r.keep.wish = true
	case opThaw:
		err = r.keep.thaw(now)
	case opCool:
		if r.still {
			err = r.object.trim()
		}
	case opLook:
		answer.Reading, err = r.look()
	case opSignal:
		err = r.signal(m.Signal)
	case opFresh:
		err = r.fresh()
	case opResume, opCheckpoint:
		err = errNoImages
	case opQuit:
		if r.job == nil {
			os.Exit(0)
		}
		err = ErrBusy
	default:
		err = fmt.Errorf("this runner does not know %q", m.Op)
	}
	if aerr := r.apply(); err == nil {
		err = aerr
	}
	r.wake()
	if err != nil {
		answer.fail(err)
	}
	return answer
}

// errNoImages says what Windows has not.
var errNoImages = errors.New("there are no checkpoints of running processes on Windows; jobs that save their own state move all the same")

// apply makes the job's state what it should be. Called with mu held.
func (r *runner) apply() error {
	if r.job == nil {
		return nil
	}
	if r.keep.frozen() {
		// Also when it stands still: one that we could not suspend the last time.
		r.still = true
		return r.object.freeze()
	}
	if !r.still {
		return nil
	}
	r.still = false
	err := r.object.thaw()
	owed := r.owed
	r.owed = nil
	for _, s := range owed {
		err = errors.Join(err, r.send(s))
	}
	return err
}

// guard freezes the job when the lease is over or the agent silent. It wakes when one of them may have
// happened, not more often.
func (r *runner) guard() {
	timer := time.NewTimer(0)
	for {
		select {
		case <-timer.C:
		case <-r.nudge:
		}
		r.mu.Lock()
		now := bootClock()
		next, end := r.keep.due(now)
		if end {
			os.Exit(0)
		}
		if err := r.apply(); err != nil {
			fmt.Fprintln(os.Stderr, "freeze or thaw:", err)
		}
		r.mu.Unlock()
		timer.Reset(next - now)
	}
}

func (r *runner) wake() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// status is called with mu held.
func (r *runner) status() *status {
	s := &status{Frozen: r.keep.wish, Exit: r.exit}
	if r.job != nil {
		s.Job, s.Pid, s.Running = r.job.spec.Job, r.job.process.Pid, true
	} else if r.exit != nil {
		s.Job = r.exit.Job
	}
	return s
}

// look reads what the job has used and uses. Called with mu held.
func (r *runner) look() (*Reading, error) {
	if r.job == nil {
		return nil, ErrNoJob
	}
	memory, err := r.object.look()
	if err != nil {
		return nil, err
	}
	return &Reading{Used: r.used(), Memory: memory}, nil
}

// used is what the job has used so far. Called with mu held.
func (r *runner) used() Usage {
	counted, seen := r.object.used()
	counted.User -= r.job.counted.User
	counted.System -= r.job.counted.System
	u := moreUsed(counted, seen)
	u.Wall = bootClock() - r.job.started
	return u
}

// signal tells the job what a signal would. One that stands still hears it when it goes on. Called with mu held.
func (r *runner) signal(sig int) error {
	if r.job == nil {
		return ErrNoJob
	}
	s := winSignalOf(sig)
	switch {
	case s == winNone:
		return fmt.Errorf("there is nothing like signal %d on Windows", sig)
	case s != winKill && r.still: // a console's event starts a thread, which would run
		r.owed = append(r.owed, s)
		return nil
	}
	return r.send(s)
}

func (r *runner) send(s winSignal) error {
	var err error
	switch s {
	case winCtrlC:
		err = windows.GenerateConsoleCtrlEvent(windows.CTRL_C_EVENT, 0)
	case winBreak:
		err = windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, 0)
	case winKill:
		err = windows.TerminateJobObject(r.object.h, winEnd)
	}
	if err != nil {
		return fmt.Errorf("signal the job: %w", err)
	}
	return nil
}

// fresh makes sure that nothing of the job before is left. Called with mu held.
func (r *runner) fresh() error {
	if r.job != nil {
		return ErrBusy
	}
	return r.object.kill(killLimit)
}

// bootClock runs on while the machine sleeps, as leases do.
func bootClock() time.Duration { return windows.DurationSinceBoot() }

// processBorn is when a process was made, in the system's own count.
func processBorn(h windows.Handle) (int64, error) {
	var born, ended, system, user windows.Filetime
	if err := windows.GetProcessTimes(h, &born, &ended, &system, &user); err != nil {
		return 0, os.NewSyscallError("GetProcessTimes", err)
	}
	return born.Nanoseconds(), nil
}
