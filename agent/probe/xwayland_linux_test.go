package probe

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Somebody has a VNC server beside a desktop: what is typed there is seen, while the desktop's own displays are left
// to its helper.
func TestIsServer(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		want bool
	}{{"Xtigervnc", true}, {"Xvfb", true}, {"Xwayland", false}, {"gnome-shell", false}} {
		program := filepath.Join(dir, c.name)
		if err := os.Symlink(sleep, program); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lock := filepath.Join(dir, ".X1-lock")
		if err := os.WriteFile(lock, fmt.Appendf(nil, "%10d\n", cmd.Process.Pid), 0o444); err != nil {
			t.Fatal(err)
		}
		if got := isServer(lock); got != c.want {
			t.Errorf("the lock of %s: %v, want %v", c.name, got, c.want)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if isServer(lock) {
			t.Errorf("the lock that %s has left behind counts", c.name)
		}
		os.Remove(lock)
	}
	for name, leave := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"no pid":  func(path string) error { return os.WriteFile(path, []byte("Xvnc"), 0o444) },
		"a pipe":  func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a link":  func(path string) error { return os.Symlink("/proc/self/stat", path) },
	} {
		lock := filepath.Join(dir, "lock")
		if err := leave(lock); err != nil {
			t.Fatal(err)
		}
		if isServer(lock) {
			t.Errorf("%s counts as a server's lock", name)
		}
		os.Remove(lock)
	}
}
