package starter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
	"skua/internal/diag"
	"skua/internal/job"
)

// An Init is the agent's hold on a claim's init. Its methods may be called concurrently; of Run,
// Resume and Checkpoint one at a time is carried out, the others return ErrBusy.
//
// While an Init is connected it tells the init twice a second that the agent is there.
type Init struct {
	s     *Starter
	claim job.ClaimID
	cg    *jobCgroup // nil: freeze by signals
	stop  chan struct{}
	lost  chan struct{} // closed when the connection has ended
	wg    sync.WaitGroup

	writing sync.Mutex // one message at a time

	mu       sync.Mutex // guards what follows
	conn     net.Conn
	pidfd    int // of the init, or -1
	closed   bool
	lastID   uint64
	waiting  map[uint64]chan *message
	wish     bool // the job is to be frozen
	dumping  bool
	restored bool // a job of the claim has come from an image
	job      job.ID
	running  bool
	done     chan struct{}
	ended    bool // done is closed
	exit     Exit
}

func newInit(s *Starter, claim job.ClaimID, cg *jobCgroup, pidfd int) *Init {
	return &Init{
		s: s, claim: claim, cg: cg, pidfd: pidfd,
		stop: make(chan struct{}), lost: make(chan struct{}),
		waiting: make(map[uint64]chan *message), done: make(chan struct{}),
	}
}

// connect dials the init, which may be in the middle of starting when pidfd is known, and says hello.
func (i *Init) connect(ctx context.Context) error {
	conn, pidfd, err := dialInit(i.s.dir(i.claim), i.s.uidOf(i.claim))
	for i.pidfd >= 0 && errors.Is(err, unix.ECONNREFUSED) {
		if dead, perr := awaitDeath(i.pidfd, time.Millisecond); dead || perr != nil {
			return errors.New("the init ended while it started")
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the init did not start in time: %w", err)
		}
		conn, pidfd, err = dialInit(i.s.dir(i.claim), i.s.uidOf(i.claim))
	}
	if err != nil {
		return err
	}
	if i.pidfd >= 0 {
		unix.Close(i.pidfd)
	}
	i.conn, i.pidfd = conn, pidfd
	i.wg.Go(i.read)
	m, err := i.call(ctx, &message{Op: opHello})
	if err != nil {
		return err
	}
	if m.Status == nil {
		return errors.New("the init did not say how it is")
	}
	i.mu.Lock()
	i.wish, i.job, i.running, i.restored = m.Status.Frozen, m.Status.Job, m.Status.Running, m.Status.Restored
	i.mu.Unlock()
	if m.Status.Exit != nil {
		i.finish(m.Status.Exit)
	}
	i.wg.Go(i.beat)
	return nil
}

// Claim returns the claim's id.
func (i *Init) Claim() job.ClaimID { return i.claim }

// Scratch returns the path of the job's scratch directory on this machine. The directory is mounted
// in the claim: its contents may be replaced while no job runs, except for the directories [TmpName]
// and [ShmName] themselves, but it must not be removed.
func (i *Init) Scratch() string { return filepath.Join(i.s.dir(i.claim), scratchName) }

// ImageDir returns the path of the directory of checkpoints, with the same condition.
func (i *Init) ImageDir() string { return filepath.Join(i.s.dir(i.claim), imageName) }

// Job returns the job that the claim runs or ran last, and whether it runs.
func (i *Init) Job() (id job.ID, running bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.job, i.running
}

// Frozen reports whether the agent, this one or the one before, wants the job frozen.
func (i *Init) Frozen() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wish
}

// Run starts a job in the claim, whose last one must have ended. It returns when the job's program
// has been executed. A program that is not there or cannot be executed is an error. A claim that is to be
// frozen is so from the job's first instruction.
func (i *Init) Run(ctx context.Context, spec JobSpec) error { return i.begin(ctx, opRun, spec) }

// Resume starts a job from the checkpoint that the caller has put into ImageDir and Scratch, made
// here or on another machine. Of spec only Job and Lease are used. It returns when the job runs. After an error
// nothing of it is left, and the claim can be used again.
func (i *Init) Resume(ctx context.Context, spec JobSpec) error {
	if len(spec.Argv) == 0 {
		spec.Argv = []string{"(restored)"} // it goes on with its own
	}
	return i.begin(ctx, opResume, spec)
}

func (i *Init) begin(ctx context.Context, op string, spec JobSpec) error {
	what := func(err error) error { return fmt.Errorf("%s job %v: %w", op, spec.Job, err) }
	if err := spec.check(); err != nil {
		return what(err)
	}
	select {
	case <-i.lost:
		return what(ErrGone)
	default:
	}
	i.mu.Lock()
	if i.running {
		i.mu.Unlock()
		return what(fmt.Errorf("job %v runs already: %w", i.job, ErrBusy))
	}
	if i.ended {
		i.ended, i.done = false, make(chan struct{})
	}
	i.job, i.running, i.exit = spec.Job, true, Exit{}
	i.restored = i.restored || op == opResume
	i.mu.Unlock()
	err := i.s.takeOver(i.claim)
	frozen := i.Frozen()
	if err == nil {
		_, err = i.call(ctx, &message{Op: op, Job: &spec, Frozen: frozen, LeaseMS: spec.Lease.Milliseconds()})
	}
	if err != nil {
		i.mu.Lock()
		i.running = false
		i.mu.Unlock()
		return what(err)
	}
	if frozen && !i.Frozen() { // the word that it may go on may have been the earlier one
		if err := i.Thaw(); err != nil && !errors.Is(err, ErrLeaseOver) && !errors.Is(err, ErrGone) {
			return what(err)
		}
	}
	return nil
}

// Freeze stops the job, all its processes and threads, and returns when the last has stopped. With a
// cgroup that is one write to the kernel; the init only hears of it.
func (i *Init) Freeze() error {
	i.mu.Lock()
	i.wish = true
	dumping := i.dumping
	i.mu.Unlock()
	if i.cg == nil {
		ctx, cancel := context.WithTimeout(context.Background(), freezeLimit+Silence)
		defer cancel()
		if _, err := i.call(ctx, &message{Op: opFreeze}); err != nil {
			return fmt.Errorf("freeze claim %s: %w", i.claim, err)
		}
		return nil
	}
	if dumping {
		return nil // it is frozen, and CRIU is at work in it
	}
	if err := writeAt0(int(i.cg.freeze.Fd()), boolDigit(true)); err != nil {
		return fmt.Errorf("freeze claim %s: %w", i.claim, err)
	}
	i.send(&message{Op: opBeat, Frozen: true})
	if err := i.cg.awaitFrozen(freezeLimit); err != nil {
		return fmt.Errorf("freeze claim %s: %w", i.claim, err)
	}
	return nil
}

// Thaw lets a frozen job go on. Without a valid lease the job stays frozen and the error wraps
// ErrLeaseOver; it then goes on with the next Grant.
func (i *Init) Thaw() error {
	i.mu.Lock()
	i.wish = false
	i.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), freezeLimit)
	defer cancel()
	if _, err := i.call(ctx, &message{Op: opThaw}); err != nil {
		return fmt.Errorf("thaw claim %s: %w", i.claim, err)
	}
	return nil
}

// Checkpoint freezes the job and dumps it into ImageDir. The image and Scratch are then of the same
// frozen instant. Unless keep is set the job is dead afterwards, and the claim can run another, frozen until
// Thaw; with keep it is left frozen, for Thaw or Kill. After an error the job is frozen and can go on, unless
// Done is closed: a dump that ctx ended in the middle has killed it.
func (i *Init) Checkpoint(ctx context.Context, keep bool) (checkpoint.Stats, error) {
	what := func(err error) (checkpoint.Stats, error) {
		return checkpoint.Stats{}, fmt.Errorf("checkpoint claim %s: %w", i.claim, err)
	}
	if err := i.Freeze(); err != nil {
		return what(err)
	}
	i.mu.Lock()
	busy := i.dumping
	i.dumping = true
	i.mu.Unlock()
	if busy {
		return what(ErrBusy)
	}
	m, err := i.call(ctx, &message{Op: opCheckpoint, Keep: keep})
	i.mu.Lock()
	i.dumping = false
	if err == nil && !keep {
		i.running = false
	}
	i.mu.Unlock()
	if err != nil {
		return what(err)
	}
	if m.Stats == nil {
		return what(errors.New("the init did not say what it cost"))
	}
	return *m.Stats, nil
}

// Look says what the running job has used and uses. Memory that processes share is counted for each of
// them, unless the sum is more than limit: then it is counted exactly, which takes longer.
func (i *Init) Look(ctx context.Context, limit int64) (Reading, error) {
	m, err := i.call(ctx, &message{Op: opLook, Limit: limit})
	if err == nil && m.Reading == nil {
		err = errors.New("the init did not say")
	}
	if err != nil {
		return Reading{}, fmt.Errorf("look at claim %s: %w", i.claim, err)
	}
	return *m.Reading, nil
}

// LimitsMemory reports whether the kernel keeps the job to its memory. What a job has brought with it in an
// image does not count as its cgroup's, so one that goes on from there has to be looked at.
func (i *Init) LimitsMemory() bool {
	i.mu.Lock()
	restored := i.restored
	i.mu.Unlock()
	return !restored && i.cg != nil && i.cg.hasMemory()
}

// Processes says what the kernel counts of the job's processes; nothing where it does not.
func (i *Init) Processes() Processes {
	if i.cg == nil || !i.cg.hasPids() {
		return Processes{}
	}
	return i.cg.processes()
}

// Throttle keeps what runs in the claim to so many processors on average, from now on and also in the hands
// of the next agent; with 0 or less it may have all. Where no controller does that, the init has the job
// stand still for a moment whenever it has had too much. A job that is frozen stays so.
func (i *Init) Throttle(ctx context.Context, cpus float64) error {
	what := func(err error) error { return fmt.Errorf("throttle claim %s: %w", i.claim, err) }
	if math.IsNaN(cpus) || math.IsInf(cpus, 0) || cpus < 0 {
		cpus = 0
	}
	if i.cg != nil {
		if done, err := i.cg.throttle(cpus); err != nil {
			return what(err)
		} else if done {
			return nil
		}
	}
	if _, err := i.call(ctx, &message{Op: opThrottle, CPUs: cpus}); err != nil {
		return what(err)
	}
	return nil
}

// Signal sends a signal to the job's first process. A frozen job gets it when it is thawed.
func (i *Init) Signal(sig int) error {
	ctx, cancel := context.WithTimeout(context.Background(), freezeLimit)
	defer cancel()
	if _, err := i.call(ctx, &message{Op: opSignal, Signal: sig}); err != nil {
		return fmt.Errorf("signal claim %s: %w", i.claim, err)
	}
	return nil
}

// killLimit is how long everything of a claim may take to die: longer only in an uninterruptible
// wait.
const killLimit = 10 * time.Second

// Kill ends everything in the claim, its init included, and returns when nothing of it is left.
func (i *Init) Kill() error {
	i.mu.Lock()
	pidfd := i.pidfd
	i.mu.Unlock()
	if pidfd < 0 {
		return nil
	}
	if err := killPidfd(pidfd); err != nil {
		return fmt.Errorf("kill claim %s: %w", i.claim, err)
	}
	return nil
}

// Grant tells the init what is left of the lease. A job that is frozen because the lease was over
// goes on, unless the agent wants it frozen.
func (i *Init) Grant(left time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), freezeLimit)
	defer cancel()
	if _, err := i.call(ctx, &message{Op: opGrant, LeaseMS: left.Milliseconds()}); err != nil {
		return fmt.Errorf("grant lease to claim %s: %w", i.claim, err)
	}
	return nil
}

// Done is closed when the job has ended by itself or was killed, or the init is gone. After a Run or
// Resume that follows, call it again.
func (i *Init) Done() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.done
}

// Exit says how the job ended, once Done is closed.
func (i *Init) Exit() Exit {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.exit
}

// Close lets go of the init without ending it. Its job runs on for [Silence] and then waits, frozen,
// for the next agent.
func (i *Init) Close() {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return
	}
	i.closed = true
	if i.conn != nil {
		i.conn.Close()
	}
	close(i.stop)
	i.mu.Unlock()
	i.wg.Wait()
	if i.cg != nil {
		i.cg.close()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pidfd >= 0 {
		unix.Close(i.pidfd)
		i.pidfd = -1 // the number may soon be another process's
	}
}

// finish records how the job ended.
func (i *Init) finish(e *Exit) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return
	}
	if i.cg != nil {
		i.cg.blame(e)
	}
	i.exit, i.ended, i.running = *e, true, false
	close(i.done)
}

// call sends a request and waits for its answer, at most as long as ctx allows; the init gets the
// same deadline.
func (i *Init) call(ctx context.Context, m *message) (*message, error) {
	m.TimeoutMS = checkpoint.DefaultTimeout.Milliseconds()
	if d, ok := ctx.Deadline(); ok {
		m.TimeoutMS = max(1, time.Until(d).Milliseconds())
	}
	answer := make(chan *message, 1)
	i.mu.Lock()
	i.lastID++
	m.ID = i.lastID
	i.waiting[m.ID] = answer
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		delete(i.waiting, m.ID)
		i.mu.Unlock()
	}()
	i.send(m)
	select {
	case a := <-answer:
		return a, a.failure()
	case <-i.lost:
		select {
		case a := <-answer: // it came with the last bytes
			return a, a.failure()
		default:
			return nil, ErrGone
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer from the claim's init: %w", context.Cause(ctx))
	}
}

// send writes one message. An init that does not read has its connection ended; whoever waits for an
// answer learns that from lost.
func (i *Init) send(m *message) {
	i.mu.Lock()
	c := i.conn
	i.mu.Unlock()
	if c == nil {
		return
	}
	i.writing.Lock()
	defer i.writing.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(Silence))
	if err := writeMessage(c, m); err != nil {
		c.Close()
	}
}

// beat tells the init that we are there, until the connection ends.
func (i *Init) beat() {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		select {
		case <-i.stop:
			return
		case <-i.lost:
			return
		case <-t.C:
			i.send(&message{Op: opBeat, Frozen: i.Frozen()})
		}
	}
}

// read hands out what the init says, and finds out why when it stops talking.
func (i *Init) read() {
	defer close(i.lost)
	for {
		m, err := readMessage(i.conn)
		if err != nil {
			i.mourn(err)
			return
		}
		if m.Op == opExit && m.Exit != nil {
			i.finish(m.Exit)
			continue
		}
		i.mu.Lock()
		if c := i.waiting[m.ID]; c != nil {
			delete(i.waiting, m.ID)
			c <- m // has room for the one answer
		}
		i.mu.Unlock()
	}
}

// mourn ends the job's life as far as we are concerned: its init does not talk to us any more.
func (i *Init) mourn(why error) {
	i.mu.Lock()
	closed, pidfd := i.closed, i.pidfd
	i.mu.Unlock()
	if closed {
		return
	}
	if dead, err := awaitDeath(pidfd, Silence); err == nil && dead {
		if e, err := readExit(i.s.dir(i.claim)); err == nil {
			i.finish(e) // the news was on its way when the init died
			return
		}
		id, _ := i.Job()
		i.finish(&Exit{Job: id, Err: "the claim was killed with its job"})
		return
	}
	i.s.log.Warn("lost the connection to a claim's init", diag.KeyClaim, i.claim, diag.KeyError, why)
	id, _ := i.Job()
	i.finish(&Exit{Job: id, Err: "the connection to the claim's init was lost"})
}

// killPidfd kills an init and waits until it is dead; its whole namespace has died before it.
func killPidfd(pidfd int) error {
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	dead, err := awaitDeath(pidfd, killLimit)
	if err == nil && !dead {
		err = fmt.Errorf("still alive after %v", killLimit)
	}
	return err
}

// awaitDeath waits for the process behind pidfd to end, and buries it if it is our child.
func awaitDeath(pidfd int, limit time.Duration) (dead bool, err error) {
	deadline := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false, os.NewSyscallError("poll", err)
		case n > 0:
			// Fails with ECHILD for an init that an earlier agent started; somebody else buries that.
			_ = unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOHANG, nil)
			return true, nil
		case !time.Now().Before(deadline):
			return false, nil
		}
	}
}
