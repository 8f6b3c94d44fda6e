package starter

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A process may be stopped, or sent another signal, just while it is made ready. It does as it is told, and then gets the
// signal.
func TestInjectedSyscallIsNotLostToASignal(t *testing.T) {
	runtime.LockOSThread() // only the thread that traces a process may
	defer runtime.UnlockOSThread()
	for _, signals := range [][]unix.Signal{nil, {unix.SIGSTOP}, {unix.SIGUSR1, unix.SIGSTOP}} {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		stopped := func() unix.Signal {
			_, ws, _, err := wait(pid, 0)
			if err != nil || !ws.Stopped() {
				t.Fatalf("the process has not stopped: status %#x, %v", ws, err)
			}
			return ws.StopSignal()
		}
		if sig := stopped(); sig != unix.SIGTRAP {
			t.Fatalf("stopped by %v", sig)
		}
		for _, sig := range signals {
			if err := unix.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
		switch ret, err := injectPrctl(pid, unix.PR_SET_CHILD_SUBREAPER, 1); {
		case err != nil:
			t.Error(err)
		case ret != 0:
			t.Errorf("with %v: the system call returned %d", signals, ret)
		}
		left := map[unix.Signal]bool{}
		for range signals {
			if err := unix.PtraceCont(pid, 0); err != nil {
				t.Fatal(err)
			}
			left[stopped()] = true
		}
		for _, sig := range signals {
			if !left[sig] {
				t.Errorf("signal %v is lost", sig)
			}
		}
		_ = cmd.Process.Kill()
		_, _, _, _ = wait(pid, 0)
	}
}
