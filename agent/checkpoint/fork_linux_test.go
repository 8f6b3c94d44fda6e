package checkpoint

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// starters are both ways to start a program.
var starters = map[string]func(string, []string, []string, []*os.File) (int, error){"start": start, "startApart": startApart}

// run runs a shell's command by one of them and gives what it wrote to its fourth file.
func run(t *testing.T, by func(string, []string, []string, []*os.File) (int, error), script string) (said string, ws unix.WaitStatus) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pid, err := by("/bin/sh", []string{"sh", "-c", script}, []string{"X=value", "PATH=" + os.Getenv("PATH")}, []*os.File{null, null, null, w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if ws, err = reap(pid); err != nil {
		t.Fatal(err)
	}
	return string(data), ws
}

func TestStart(t *testing.T) {
	for name, by := range starters {
		t.Run(name, func(t *testing.T) {
			said, ws := run(t, by, `echo "$X" >&3; cat 0<&0 >&3; kill -TERM $$`)
			if said != "value\n" {
				t.Errorf("the program said %q", said)
			}
			if !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
				t.Errorf("it ended with status %#x", ws)
			}
			if _, err := by("/nonexistent", []string{"x"}, nil, nil); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a program that is not there gives %v", err)
			}
		})
	}
}

// A thread whose children are born into another time namespace starts programs, which kernels before 6.3
// allow in one of the ways only.
func TestStartInTimeNamespace(t *testing.T) {
	for name, by := range starters {
		t.Run(name, func(t *testing.T) {
			ready := make(chan error)
			var own, children, said string
			go func() {
				runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
				err := unix.Unshare(unix.CLONE_NEWTIME)
				if err == nil {
					own, _ = os.Readlink("/proc/thread-self/ns/time")
					children, _ = os.Readlink("/proc/thread-self/ns/time_for_children")
					said, _ = run(t, by, "readlink /proc/$$/ns/time >&3")
				}
				ready <- err
			}()
			if err := <-ready; err != nil {
				t.Skip("no time namespace can be made here: ", err)
			}
			if own == children || strings.TrimSpace(said) != children {
				t.Errorf("the program is in %q; its parent in %s, with children in %s", said, own, children)
			}
		})
	}
}
