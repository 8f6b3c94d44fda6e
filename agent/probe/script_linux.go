package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CanRunScripts reports whether this system can.
const CanRunScripts = true

// scriptUser is whom scripts run as when the agent is root.
const scriptUser = "nobody"

// runScript runs a script to its end and gives what it printed. It runs with the least rights: as another
// user, unable to gain any, after everybody else, and for as long as it may. What it started and left
// behind is killed with it. One that hangs in the kernel, where it cannot be killed, is left there: stuck
// is closed when it has ended after all.
func runScript(ctx context.Context, s Script) (printed []byte, stuck <-chan struct{}, err error) {
	credential, err := credentialOf(s.User)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("it did not end within %v", s.Timeout))
	defer cancel()
	out, complaint := &bounded{most: scriptOutput}, &bounded{most: scriptComplaint}
	cmd := exec.CommandContext(ctx, s.Run)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "SKUA_PROBE=" + s.Name}
	cmd.Stdout, cmd.Stderr = out, complaint
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

	ended := make(chan struct{})
	var failure error
	go onThreadOfItsOwn(func() {
		defer close(ended)
		failure = runLowly(cmd)
	})
	select {
	case <-ended:
		err = failure
	case <-ctx.Done():
		const dying = 5 * time.Second
		patience := time.NewTimer(dying)
		defer patience.Stop()
		select {
		case <-ended:
		case <-patience.C:
			stuck = ended
		}
		return nil, stuck, context.Cause(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case err != nil:
		line, _, _ := strings.Cut(strings.TrimSpace(complaint.String()), "\n")
		if line != "" {
			return nil, nil, fmt.Errorf("%w: %q", err, line)
		}
		return nil, nil, err
	case out.cut:
		return nil, nil, fmt.Errorf("it prints more than %d bytes", scriptOutput)
	}
	return out.Bytes(), nil, nil
}

// onThreadOfItsOwn calls f on a thread that gives its standing to the process that f starts, and ends with f. The
// process's first thread cannot end, and is what others take for the process, so it is never used.
func onThreadOfItsOwn(f func()) {
	runtime.LockOSThread() // for good
	if unix.Gettid() != os.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // that is another one, since this goroutine has the first
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

// runLowly runs cmd at the lowest priority and without a way to more rights. The calling thread keeps
// both.
func runLowly(cmd *exec.Cmd) error {
	const lowest, idleIO, processIO = 19, 3 << 13, 1
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	tid := unix.Gettid()
	if err := unix.Setpriority(unix.PRIO_PROCESS, tid, lowest); err != nil {
		return fmt.Errorf("lower the priority: %w", err)
	}
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, processIO, uintptr(tid), idleIO) // as far as the kernel knows it
	if err := cmd.Start(); err != nil {
		return err
	}
	// Its process group is killed while the number is still its own: before it is waited for.
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	return cmd.Wait()
}

// credentialOf gives the rights of a user by name. Only root can give its processes others than its own.
func credentialOf(name string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		if name == "" {
			return nil, nil
		}
		if own, err := user.Current(); err == nil && own.Username == name {
			return nil, nil
		}
		return nil, fmt.Errorf("the agent is not root and cannot run it as user %q", name)
	}
	setDefault(&name, scriptUser)
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %q has the id %q", name, u.Uid)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %q has the group %q", name, u.Gid)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
