package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What ends a helper besides the end of what it follows.
var (
	ErrBlind  = errors.New("the session shows its input to nobody")
	ErrNobody = errors.New("no display server answers")
)

const (
	helperStart = 5 * time.Second // until it must have said something

	// A helper that says more than reportsMost in reportsTime is mad, or not ours any more. One whose user
	// types says a few things a second.
	reportsMost = 200
	reportsTime = 10 * time.Second
)

// HelperConfig says whose input a helper follows.
type HelperConfig struct {
	UID, GID   uint32        // required, except for root
	RuntimeDir string        // required: the user's XDG_RUNTIME_DIR
	Display    string        // the user's X display; "" leaves X11 out
	XAuthority string        // its cookie file
	Home       string        // where it is otherwise
	Quiet      time.Duration // required: how long there must be no input before the next is news
	Tell       func(Report)  // required: called for each Busy and Quiet, by one at a time
	Started    func(pid int) // called when the helper runs; nil means that nobody wants to know
}

// RunHelper follows the input of a user by a helper with that user's rights, until ctx ends or there is no
// more to follow. The helper has ended when RunHelper returns.
func RunHelper(ctx context.Context, cfg HelperConfig) error {
	if !canHelp.Load() {
		return errors.New("this program cannot be a session's helper")
	}
	if euid := os.Geteuid(); euid != 0 && cfg.UID != uint32(euid) {
		return fmt.Errorf("%w: that of user %d needs an agent of root", ErrBlind, cfg.UID)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("socket to a helper: %w", err)
	}
	defer ours.Close()
	cmd := cfg.command(theirs)
	// What this process was itself started with must not go on to a user. Files that Go has opened do not anyway.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	err = startPlain(cmd)
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the helper of user %d: %w", cfg.UID, err)
	}
	if cfg.Started != nil {
		cfg.Started(cmd.Process.Pid)
	}
	stop := context.AfterFunc(ctx, func() { ours.Close() })
	err = listen(ours, cfg.Tell)
	stop()
	// It ends by itself now, but for that nobody waits.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// command is the helper, whose end of the socket is theirs.
func (cfg HelperConfig) command(theirs *os.File) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe", // this very program, also when its file has been replaced
		Args: []string{
			helperName, strconv.Itoa(int(cfg.UID)), strconv.Itoa(int(cfg.GID)), strconv.FormatInt(cfg.Quiet.Milliseconds(), 10),
		},
		Env: cfg.helperEnv(), Dir: "/", ExtraFiles: []*os.File{theirs},
	}
}

// socketPair makes the two ends of a socket that keeps messages apart.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "agent"), nil
}

// startPlain starts a process that has none of the priority that this one may have.
func startPlain(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		// Priority belongs to threads and is inherited. This one ends with the goroutine, as it is never unlocked.
		runtime.LockOSThread()
		if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && nice > 20 { // 20 - nice, says the kernel
			_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0) // towards less, which is always allowed
		}
		started <- cmd.Start()
	}()
	return <-started
}

// listen passes on what a helper says, until it ends or says what no helper says.
func listen(helper *os.File, tell func(Report)) error {
	if err := helper.SetReadDeadline(time.Now().Add(helperStart)); err != nil {
		return err
	}
	var buf [reportSize + 1]byte // longer messages are seen to be longer
	said, since := 0, time.Now()
	for {
		n, err := helper.Read(buf[:])
		if err != nil {
			return fmt.Errorf("the session's helper has ended: %w", err)
		}
		r, err := parseReport(buf[:n])
		switch {
		case err != nil:
			return err
		case r.Kind == Blind:
			return ErrBlind
		case r.Kind == Nobody:
			return ErrNobody
		}
		if said == 0 {
			if err := helper.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
		}
		if said++; said > reportsMost {
			now := time.Now()
			if now.Sub(since) < reportsTime {
				return errors.New("the session's helper talks without end")
			}
			said, since = 1, now
		}
		tell(r)
	}
}
