package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"skua/agent/x11"
)

// testWait is how long a test waits for what should happen at once; a machine may be busy.
const testWait = time.Minute

// eventually polls until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(testWait); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("after %v: %s", testWait, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// xvfb is a real X server.
type xvfb struct {
	name string // ":7"
	stop func()
}

// freeDisplay is a display that nobody has. Servers that look for one themselves, as two test programs at
// a time do, take each other's sockets in /tmp away.
func freeDisplay() string {
	for n := 2000 + os.Getpid()%1000*10; ; n++ {
		_, socket := os.Stat(fmt.Sprintf("/tmp/.X11-unix/X%d", n))
		_, lock := os.Stat(fmt.Sprintf("/tmp/.X%d-lock", n))
		if socket != nil && lock != nil {
			return fmt.Sprint(":", n)
		}
	}
}

// startXvfb starts an X server on the display, or on a free one if display is "".
func startXvfb(t testing.TB, display string, args ...string) *xvfb {
	t.Helper()
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if display == "" {
		display = freeDisplay()
	}
	args = append([]string{display, "-displayfd", "3", "-screen", "0", "320x200x8", "-nolisten", "tcp"}, args...)
	cmd := exec.Command("Xvfb", args...)
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		n := display[1:] // killed, it leaves these behind
		os.Remove("/tmp/.X11-unix/X" + n)
		os.Remove("/tmp/.X" + n + "-lock")
	})
	line, err := bufio.NewReader(io.LimitReader(r, 16)).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb did not start: %v", err)
	}
	return &xvfb{name: ":" + strings.TrimSpace(line), stop: stop}
}

// number is the display's number.
func (x *xvfb) number(t testing.TB) int {
	t.Helper()
	n, err := x11.ParseDisplay(x.name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// xdotool does something on the display as a user would.
func (x *xvfb) xdotool(t testing.TB, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("xdotool"); err != nil {
		t.Skip("xdotool is not installed")
	}
	cmd := exec.Command("xdotool", args...)
	cmd.Env = append(os.Environ(), "DISPLAY="+x.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xdotool %v: %v: %s", args, err, out)
	}
}

// keyPresser presses keys over its own connection, so that no process start is measured.
type keyPresser struct {
	x     *x11.Conn
	major byte
}

func newKeyPresser(t testing.TB, server *xvfb) *keyPresser {
	t.Helper()
	x, err := x11.Dial(t.Context(), "/tmp/.X11-unix", server.number(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	major, _, ok, err := x.Extension("XTEST")
	if err != nil || !ok {
		t.Skipf("no XTEST: %v", err)
	}
	return &keyPresser{x: x, major: major}
}

// press presses and releases a key.
func (k *keyPresser) press(t testing.TB) {
	t.Helper()
	for _, kind := range []byte{2, 3} {
		body := make([]byte, 32)
		body[0], body[1] = kind, 38
		if err := k.x.Send(k.major, 2, body); err != nil {
			t.Fatal(err)
		}
	}
}

// watching runs a watcher for the test and returns its events.
func watching(t testing.TB, cfg WatchConfig) (*Watcher, <-chan Active) {
	t.Helper()
	events := make(chan Active, 1000)
	cfg.SkipDevices = cfg.SkipDevices || cfg.Dev == "" // somebody may be typing
	cfg.OnActive = func(a Active) { events <- a }
	w, err := NewWatcher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(testWait):
			t.Error("the watcher did not stop")
		}
	})
	return w, events
}

// state returns the state of a source.
func state(w *Watcher, name string) (SourceState, bool) {
	for _, s := range w.Sources() {
		if s.Name == name {
			return s, true
		}
	}
	return SourceState{}, false
}

// awaitQuiet waits until a source is watched and quiet.
func awaitQuiet(t testing.TB, w *Watcher, name string) {
	t.Helper()
	eventually(t, name+" is not watched and quiet", func() bool {
		s, ok := state(w, name)
		return ok && s.Watching && !s.Busy && time.Since(s.LastInput) >= w.cfg.Quiet
	})
}

// awaitActive waits for an event of a source.
func awaitActive(t testing.TB, events <-chan Active, name string) Active {
	t.Helper()
	deadline := time.After(testWait)
	for {
		select {
		case a := <-events:
			if a.Source == name {
				return a
			}
		case <-deadline:
			t.Fatalf("no input seen on %s in %v", name, testWait)
		}
	}
}

func drain(events <-chan Active) {
	for len(events) > 0 {
		<-events
	}
}
