package probe

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a real pseudo-terminal, raw and without echo.
type pty struct {
	master, slave *os.File
	path          string
}

func openPTY(t testing.TB) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/pts/%d", n)
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	mode, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	mode.Lflag &^= unix.ICANON | unix.ECHO
	mode.Oflag &^= unix.OPOST
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, mode); err != nil {
		t.Fatal(err)
	}
	return &pty{master: master, slave: slave, path: path}
}

// typed types a byte and has the program on the terminal read it.
func (p *pty) typed(t testing.TB) {
	t.Helper()
	b := []byte{'x'}
	if _, err := p.master.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := p.slave.Read(b); err != nil {
		t.Fatal(err)
	}
}

// printed has the program print a byte and the terminal show it.
func (p *pty) printed(t testing.TB) {
	t.Helper()
	b := []byte{'y'}
	if _, err := p.slave.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := p.master.Read(b); err != nil {
		t.Fatal(err)
	}
}

func TestTerminalInput(t *testing.T) {
	before := openPTY(t)
	w, events := watching(t, WatchConfig{SkipDisplays: true})
	awaitQuiet(t, w, sourceTerminals)
	drain(events)

	after := openPTY(t)
	awaitActive(t, events, sourceTerminals) // a new terminal is somebody arriving
	for range 3 {
		for _, p := range []*pty{before, after} {
			awaitQuiet(t, w, sourceTerminals)
			drain(events)
			p.typed(t)
			awaitActive(t, events, sourceTerminals)
		}
	}
	if idle := w.Idle(time.Now()); idle > testWait {
		t.Errorf("just after typing the owner is idle for %v", idle)
	}
}

// TestTerminalOutputIsNotInput holds the kernel to what the watcher builds on.
func TestTerminalOutputIsNotInput(t *testing.T) {
	printing, typing := openPTY(t), openPTY(t)
	q, err := newInotify()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	output, err := q.add(printing.path, unix.IN_ACCESS)
	if err != nil {
		t.Fatal(err)
	}
	input, err := q.add(typing.path, unix.IN_ACCESS)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		printing.printed(t)
	}
	typing.typed(t)
	for { // events come in order, so that those of the output would be first
		events, err := q.read()
		if err != nil {
			t.Fatal(err)
		}
		for ev := range events {
			switch ev.watch {
			case output:
				t.Fatalf("output gives event %#x", ev.mask)
			case input:
				return
			}
		}
	}
}

// TestInputThroughDevTTY is why /dev/tty is watched: pagers and password prompts read there.
func TestInputThroughDevTTY(t *testing.T) {
	p := openPTY(t)
	q, err := newInotify()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if _, err := q.add("/dev/tty", unix.IN_ACCESS); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("head", "-c1", "/dev/tty")
	cmd.Stdin = p.slave // file 0, which becomes its terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Skipf("no program on a terminal: %v", err)
	}
	if _, err := p.master.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	events, err := q.read()
	if err != nil {
		t.Fatal(err)
	}
	for range events {
		return
	}
	t.Error("a read of /dev/tty gives no event")
}

func TestClosedTerminalIsForgotten(t *testing.T) {
	w, err := NewWatcher(WatchConfig{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := newInotify()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	tt := ttys{w: w, q: q, terminals: w.addSource(sourceTerminals, false), watches: make(map[int32]*source)}
	if err := tt.start(); err != nil {
		t.Skipf("terminals cannot be watched: %v", err)
	}
	before := len(tt.watches)
	handle := func() {
		events, err := q.read()
		if err != nil {
			t.Fatal(err)
		}
		for ev := range events {
			tt.handle(ev, time.Now())
		}
	}
	p := openPTY(t)
	for len(tt.watches) == before {
		handle()
	}
	p.slave.Close()
	p.master.Close()
	for len(tt.watches) > before {
		handle()
	}
}

func TestTerminalsCannotBeWatched(t *testing.T) {
	w, _ := watching(t, WatchConfig{SkipDisplays: true, Dev: t.TempDir()})
	eventually(t, "the failure is not shown", func() bool {
		s, ok := state(w, sourceTerminals)
		return ok && s.Err != nil
	})
}

// BenchmarkTerminal measures from a program's reading a typed byte to the watcher's callback.
func BenchmarkTerminal(b *testing.B) {
	p := openPTY(b)
	w, events := watching(b, WatchConfig{SkipDisplays: true, Quiet: 50 * time.Millisecond})
	awaitQuiet(b, w, sourceTerminals)
	benchmarkInput(b, w, events, sourceTerminals, func() { p.typed(b) })
}

// TestSinceBoot takes times at which a terminal was read, by a clock that has been set meanwhile.
func TestSinceBoot(t *testing.T) {
	boot := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	now := boot.Add(time.Hour)
	for _, c := range []struct {
		at   time.Time
		want time.Duration // before now
	}{
		{now.Add(-time.Minute), time.Minute},
		{now.Add(2 * time.Hour), 0},                // the clock was ahead
		{boot.Add(-3 * 24 * time.Hour), time.Hour}, // it was behind, or the terminal is of a machine that ran before
	} {
		if got := now.Sub(sinceBoot(c.at, now, boot)); got != c.want {
			t.Errorf("read at %v: %v ago, want %v", c.at, got, c.want)
		}
	}
}
