package starter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
	"skua/internal/job"
	"skua/internal/peer"
)

// handle is what the agent has of a claim's init besides the connection to it.
type handle struct {
	cg        *jobCgroup // nil: freeze by signals
	uid       int        // of the init, on the host; 0 if it is Starter.uid
	pidfd     int        // of the init, or -1; guarded by Init.mu
	dumping   bool       // guarded by Init.mu
	restoring bool       // guarded by Init.mu
}

var noHandle = handle{pidfd: -1}

// blame completes what the init says of a job's end.
func (h *handle) blame(e *Exit) {
	if h.cg != nil {
		h.cg.blame(e)
	}
}

// begun does what is the agent's to do for a job that has just begun.
func (h *handle) begun() {
	if h.cg != nil && !h.cg.prompt {
		h.cg.comeLast()
	}
}

// warm ends what [Init.Cool] has allowed.
func (h *handle) warm() {
	if h.cg != nil {
		_ = h.cg.allowSwap(false) // of a claim that is gone there is nothing left to keep
	}
}

// close lets go. Called with Init.mu held.
func (h *handle) close() {
	h.cg.close()
	if h.pidfd >= 0 {
		unix.Close(h.pidfd)
		h.pidfd = -1 // the number may soon be another process's
	}
}

// dial connects to the init, which may be in the middle of starting when its pidfd is known.
func (i *Init) dial(ctx context.Context) error {
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
	return nil
}

// dialInit connects to the init that listens in the claim directory dir and has the id uid.
func dialInit(dir string, uid int) (conn *net.UnixConn, pidfd int, err error) {
	state, err := os.Open(filepath.Join(dir, stateName))
	if err != nil {
		return nil, -1, err
	}
	defer state.Close()
	conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: socketIn(state)})
	if err != nil {
		return nil, -1, err
	}
	listens, err := peer.Of(conn)
	switch {
	case err != nil:
	case int(listens.UID) != uid:
		err = fmt.Errorf("the process that listens has uid %d, not %d", listens.UID, uid)
	default:
		pidfd, err = unix.PidfdOpen(listens.PID, 0)
		err = os.NewSyscallError("pidfd_open", err)
	}
	if err != nil {
		conn.Close()
		return nil, -1, err
	}
	return conn, pidfd, nil
}

// Leftover stands for the init, which is gone, of a claim whose job has been dumped for good: its image is whole and, with
// Scratch, all that is left. Done is closed. An image that was made before the machine was restarted may not be whole, and
// gives an error that wraps ErrGone.
func (s *Starter) Leftover(claim job.ClaimID) (*Init, error) {
	what := func(err error) (*Init, error) {
		return nil, fmt.Errorf("look for the image of claim %s: %w: %w", claim, ErrGone, err)
	}
	if err := checkClaim(claim); err != nil {
		return what(err)
	}
	rec, err := readRecord(s.dir(claim))
	if err != nil {
		return what(err)
	}
	if rec.Boot == "" || rec.Boot != bootID() {
		return what(errors.New("the machine was restarted"))
	}
	i := s.gone(claim, &Exit{Err: "the claim's init is gone"})
	if _, err := checkpoint.ReadMeta(i.ImageDir()); err != nil {
		return what(err)
	}
	return i, nil
}

// Resume starts a job from the checkpoint that the caller has put into ImageDir and Scratch, made
// here or on another machine. Of spec only Job and Lease are used. It returns when the job runs. After an error
// nothing of it is left, and the claim can be used again.
func (i *Init) Resume(ctx context.Context, spec JobSpec) error {
	if len(spec.Argv) == 0 {
		spec.Argv = []string{"(restored)"} // it goes on with its own
	}
	i.restores(true)
	defer i.restores(false)
	return i.begin(ctx, opResume, spec)
}

func (i *Init) restores(now bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.restoring = now
}

// use keeps the handle open until release is called: the numbers of descriptors that are closed go to others. After
// Close it fails with [ErrGone].
func (i *Init) use() (release func(), err error) {
	i.using.RLock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		i.using.RUnlock()
		return nil, ErrGone
	}
	return i.using.RUnlock, nil
}

// Freeze stops the job, all its processes and threads, and returns when the last has stopped. With a
// cgroup that is one write to the kernel; the init only hears of it.
func (i *Init) Freeze() error {
	i.mu.Lock()
	i.wish = true
	dumping, restoring := i.dumping, i.restoring
	i.mu.Unlock()
	if i.cg == nil && restoring {
		i.sendBeat() // it is stopped as soon as it stands, which whoever calls must not wait for
		return nil
	}
	if i.cg == nil {
		if err := i.ask(freezeLimit+Silence, &message{Op: opFreeze}); err != nil {
			return fmt.Errorf("freeze claim %s: %w", i.claim, err)
		}
		return nil
	}
	if dumping {
		return nil // it is frozen, and CRIU is at work in it
	}
	release, err := i.use()
	if err != nil {
		return fmt.Errorf("freeze claim %s: %w", i.claim, err)
	}
	defer release()
	if err := writeAt0(int(i.cg.freeze.Fd()), boolDigit(true)); err != nil {
		return fmt.Errorf("freeze claim %s: %w", i.claim, err)
	}
	i.sendBeat()
	if err := i.cg.awaitFrozen(freezeLimit); err != nil {
		return fmt.Errorf("freeze claim %s: %w", i.claim, err)
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
	init, _ := pidOf(i.pidfd) // without one there will be no answer
	i.dumping = true
	i.mu.Unlock()
	if busy {
		return what(ErrBusy)
	}
	calm := i.cg.saveGently(init)
	m, err := i.call(ctx, &message{Op: opCheckpoint, Keep: keep})
	calm()
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

// ProcessorTime is what all that ran in the claim has used of the processors so far. It fails where there is no cgroup.
func (i *Init) ProcessorTime() (time.Duration, error) {
	if i.cg == nil {
		return 0, fmt.Errorf("processor time of claim %s: %w", i.claim, errors.ErrUnsupported)
	}
	b, err := os.ReadFile(filepath.Join(i.cg.path, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("processor time of claim %s: %w", i.claim, err)
	}
	return parseCPUStat(b)
}

// Kill ends everything in the claim, its init included, and returns when nothing of it is left.
func (i *Init) Kill() error {
	release, err := i.use()
	if err != nil {
		return fmt.Errorf("kill claim %s: %w", i.claim, err)
	}
	defer release()
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

// dead reports whether the init has ended, or does within [Silence].
func (i *Init) dead() bool {
	i.mu.Lock()
	pidfd := i.pidfd
	i.mu.Unlock()
	over, err := awaitDeath(pidfd, Silence)
	return err == nil && over
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
