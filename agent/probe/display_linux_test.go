package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/session"
	"skua/agent/x11"
)

func TestEveryFirstInputIsReported(t *testing.T) {
	server := startXvfb(t, "")
	w, events := watching(t, WatchConfig{Displays: []string{server.name}, SkipTTYs: true})
	inputs := [][]string{
		{"key", "a"},
		{"mousemove", "10", "10"},
		{"key", "b"},
		{"click", "1"},
		{"mousemove", "20", "20"},
		{"type", "--delay", "20", "many keys are one return"},
	}
	for _, input := range inputs {
		awaitQuiet(t, w, server.name)
		drain(events)
		server.xdotool(t, input...)
		awaitActive(t, events, server.name)
		// Read at once: either the input is not over, or it has just been.
		if idle := w.Idle(time.Now()); idle > testWait {
			t.Errorf("after %v the owner is idle for %v", input, idle)
		}
	}
	if _, ok := w.ConsoleIdle(time.Now()); !ok {
		t.Error("a display of this machine does not count as its console")
	}
}

// Two that watch a display, each with a quiet time of its own, both see it begin: an X server may forget the later one when it
// looks at the very moment of the first.
func TestEachQuietTimeBegins(t *testing.T) {
	server := startXvfb(t, "")
	keys := newKeyPresser(t, server)
	soon, _ := watching(t, WatchConfig{Displays: []string{server.name}, SkipTTYs: true, Quiet: 200 * time.Millisecond})
	late, events := watching(t, WatchConfig{Displays: []string{server.name}, SkipTTYs: true, Quiet: 400 * time.Millisecond})
	for range 8 {
		awaitQuiet(t, soon, server.name)
		awaitQuiet(t, late, server.name)
		drain(events)
		keys.press(t)
		awaitActive(t, events, server.name)
	}
}

func TestTypingIsOneEvent(t *testing.T) {
	server := startXvfb(t, "")
	quiet := 2 * time.Second // far longer than the pauses between the keys below
	w, events := watching(t, WatchConfig{Displays: []string{server.name}, SkipTTYs: true, Quiet: quiet})
	keys := newKeyPresser(t, server)
	awaitQuiet(t, w, server.name)
	drain(events)
	for range 20 {
		keys.press(t)
	}
	awaitActive(t, events, server.name)
	awaitQuiet(t, w, server.name)
	if n := len(events); n != 0 {
		t.Errorf("typing without a pause gave %d more events, want none", n)
	}
	if idle := w.Idle(time.Now()); idle < quiet {
		t.Errorf("after a quiet time the owner is idle for %v, want at least %v", idle, quiet)
	}
}

func TestServerDiesAndComesBack(t *testing.T) {
	server := startXvfb(t, "")
	w, events := watching(t, WatchConfig{Displays: []string{server.name}, SkipTTYs: true})
	for range 3 {
		awaitQuiet(t, w, server.name)
		drain(events)
		server.stop()
		awaitActive(t, events, server.name) // the loss
		eventually(t, "the loss is not shown", func() bool {
			s, _ := state(w, server.name)
			return !s.Watching && s.Err != nil
		})
		server = startXvfb(t, server.name)
		awaitQuiet(t, w, server.name)
		drain(events)
		server.xdotool(t, "key", "a")
		awaitActive(t, events, server.name)
	}
}

func TestDisplaysAreFound(t *testing.T) {
	startXvfb(t, "") // makes the directory of sockets on a new machine
	w, events := watching(t, WatchConfig{SkipTTYs: true})
	server := startXvfb(t, "")
	awaitQuiet(t, w, server.name)
	drain(events)
	server.xdotool(t, "key", "a")
	awaitActive(t, events, server.name)
	server.stop()
	os.Remove(filepath.Join("/tmp/.X11-unix", "X"+server.name[1:])) // killed, it left its socket
	eventually(t, "a display that is gone is still listed", func() bool {
		_, listed := state(w, server.name)
		return !listed
	})
	if idle := w.Idle(time.Now()); idle > testWait {
		t.Errorf("the input on a display that is gone is forgotten: idle for %v", idle)
	}
}

func TestDeadSocketsHideNoDisplay(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for n := range 2 * displaysMost {
		path := filepath.Join(dir, fmt.Sprint("X", n))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if n == displaysMost { // neither the first nor the last by name
			continue
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	found := findDisplays(dir)
	if len(found) != displaysMost || found[0] != displaysMost {
		t.Errorf("%d displays, first %v; want %d, and the newest first", len(found), found[:1], displaysMost)
	}
}

func TestCookieOpensDisplay(t *testing.T) {
	dir := t.TempDir()
	auth := filepath.Join(dir, "auth")
	if err := os.WriteFile(auth, authEntry(65535, "", "", x11.CookieProtocol, bytes.Repeat([]byte{7}, x11.CookieSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	server := startXvfb(t, "", "-auth", auth)
	n := server.number(t)
	if x, err := x11.Dial(t.Context(), "/tmp/.X11-unix", n, bytes.Repeat([]byte{8}, x11.CookieSize), nil); err == nil {
		x.Close()
		t.Error("a wrong cookie opens the display")
	}
	for _, tt := range []struct {
		name string
		cfg  WatchConfig
	}{
		{"the server's own, found in its command line", WatchConfig{}},
		{"a configured one", WatchConfig{XAuthority: auth}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Displays, tt.cfg.SkipTTYs = []string{server.name}, true
			w, events := watching(t, tt.cfg)
			awaitQuiet(t, w, server.name)
			drain(events)
			server2 := &xvfb{name: server.name}
			t.Setenv("XAUTHORITY", auth)
			server2.xdotool(t, "key", "a")
			awaitActive(t, events, server.name)
		})
	}
}

func TestServerThatCannotPushIsPolled(t *testing.T) {
	server := startXvfb(t, "")
	w, err := NewWatcher(WatchConfig{SkipTTYs: true, Displays: []string{server.name}})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan Active, 1000)
	w.cfg.OnActive = func(a Active) { events <- a }
	d := newDisplay(w, server.number(t))
	d.noSync = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	for range 3 {
		awaitQuiet(t, w, server.name)
		drain(events)
		server.xdotool(t, "key", "a")
		awaitActive(t, events, server.name)
	}
}

// A socket that a server has left behind worries nobody, unless the configuration names its display.
func TestLeftSocketIsNoWarning(t *testing.T) {
	for _, tt := range []struct {
		displays []string
		warnings int
	}{{nil, 0}, {[]string{":60124"}, 1}} {
		dir := t.TempDir()
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "X60124")})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		var log bytes.Buffer
		w, err := NewWatcher(WatchConfig{
			Displays: tt.displays, SkipTTYs: true, X11: dir, Dev: t.TempDir(), RunUser: t.TempDir(),
			Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		eventually(t, "the failure is not shown", func() bool {
			s, ok := state(w, ":60124")
			return ok && s.Err != nil && !s.Watching
		})
		cancel()
		<-done
		if n := strings.Count(log.String(), "level=WARN msg=\"owner input is not seen\" source=:60124"); n != tt.warnings {
			t.Errorf("displays %v: %d warnings, want %d:\n%s", tt.displays, n, tt.warnings, log.String())
		}
	}
}

func TestUnreachableDisplayIsReported(t *testing.T) {
	var log bytes.Buffer
	w, err := NewWatcher(WatchConfig{
		Displays: []string{":60123"}, SkipTTYs: true, X11: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	eventually(t, "the failure is not shown", func() bool {
		s, ok := state(w, ":60123")
		return ok && s.Err != nil && !s.Watching && s.Since.IsZero()
	})
	if idle, up := w.Idle(time.Now()), time.Since(bootTime()); idle < up-time.Minute {
		t.Errorf("a display that was never seen makes the owner idle for %v only", idle)
	}
	if _, ok := w.ConsoleIdle(time.Now()); ok {
		t.Error("a display that was never seen counts as a console")
	}
	cancel()
	<-done
	if n := bytes.Count(log.Bytes(), []byte("level=WARN")); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, log.String())
	}
}

func TestMadServerIsCutOff(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "X5"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.Write(slices.Concat([]byte{1, 0, 11, 0, 0, 0, 16, 0}, make([]byte, 64))) // set up
				for err == nil {
					_, err = conn.Write(bytes.Repeat([]byte{90}, 1<<14))
				}
			}()
		}
	}()
	w, events := watching(t, WatchConfig{Displays: []string{":5"}, SkipTTYs: true, X11: dir})
	eventually(t, "the server is not refused", func() bool {
		s, ok := state(w, ":5")
		return ok && s.Err != nil && strings.Contains(s.Err.Error(), "without end")
	})
	if len(events) > 0 {
		t.Errorf("a server that was never understood reports %v", <-events)
	}
}

// A server that does not let the agent in may have the owner in front of it. A socket that one has left behind has not.
func TestDisplayThatRefusesCountsAsTheOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "X5")
	listen := func() *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Write(slices.Concat([]byte{0, 4, 11, 0, 0, 0, 1, 0}, []byte("away"))) // refused
				conn.Close()
			}
		}()
		return l
	}
	refusing := listen()
	w, err := NewWatcher(WatchConfig{X11: dir})
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan Active, 1000)
	w.cfg.OnActive = func(a Active) { events <- a }
	w.boot = time.Now().Add(-time.Hour)
	d := newDisplay(w, 5)
	d.grace = 0
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.run(ctx) }()
	defer func() { cancel(); <-done }()
	awaitActive(t, events, ":5")
	for range 3 { // it stays so, however often it is tried
		d.poke()
		if s, _ := state(w, ":5"); !s.Busy || w.Idle(time.Now()) != 0 || !strings.Contains(s.Err.Error(), "counts as the owner at work") {
			t.Fatalf("a display that refuses is %+v", s)
		}
		if unseen := w.Unseen(); len(unseen) != 1 || unseen[0].Name != ":5" {
			t.Fatalf("unseen are %+v", unseen)
		}
	}
	refusing.Close()
	eventually(t, "a socket that is left behind counts as the owner", func() bool {
		d.poke()
		s, _ := state(w, ":5")
		return !s.Busy && w.Idle(time.Now()) > 0
	})
	if len(events) > 0 {
		t.Errorf("it was reported again: %v", <-events)
	}
	if unseen := w.Unseen(); len(unseen) > 0 {
		t.Errorf("of a display that is gone unseen are %+v", unseen)
	}
}

func TestUnobservedDisplays(t *testing.T) {
	refusal, now := errors.New("refused"), time.Now()
	here := session.Session{Class: "user", State: "active", Type: "x11", Display: ":5"}
	with := func(change func(*session.Session)) []session.Session {
		s := here
		change(&s)
		return []session.Session{s}
	}
	for _, tt := range []struct {
		name    string
		err     error
		begun   bool
		logind  bool
		devices bool
		logins  []session.Session
		want    bool
	}{
		{name: "it refuses", err: refusal, want: true},
		{name: "it refuses, and its session is not logind's", err: refusal, logind: true, devices: true, want: true},
		{name: "nobody listens", err: fmt.Errorf("connect: %w", unix.ECONNREFUSED)},
		{name: "it is gone", err: fmt.Errorf("connect: %w", unix.ENOENT)},
		{name: "it has been watched", err: refusal, begun: true},
		{name: "without logind the devices tell", err: refusal, devices: true},
		{name: "it is a session's", err: refusal, logind: true, logins: []session.Session{here}},
		{name: "it may be a session's", err: refusal, logind: true, logins: with(func(s *session.Session) { s.Display = "" })},
		{name: "it is a login screen's", err: refusal, logind: true, logins: with(func(s *session.Session) { s.Class = "greeter" })},
		{name: "another one is a session's", err: refusal, logind: true, logins: with(func(s *session.Session) { s.Display = ":6" }), want: true},
	} {
		w := &Watcher{logind: tt.logind, logins: tt.logins}
		if tt.devices {
			w.sources = append(w.sources, &source{name: sourceDevices, watching: true})
		}
		d := &display{w: w, n: 5, begun: tt.begun, grace: displayGrace}
		if d.unobserved(tt.err, now) {
			t.Errorf("%s: it is given no grace", tt.name)
		}
		if got := d.unobserved(tt.err, now.Add(displayGrace)); got != tt.want {
			t.Errorf("%s: counts as the owner: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSilentServerDoesNotStopTheStop(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "X5"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	w, err := NewWatcher(WatchConfig{Displays: []string{":5"}, SkipTTYs: true, X11: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run ends with %v, want %v", err, context.Canceled)
	}
}

func TestNewWatcherRefuses(t *testing.T) {
	for _, cfg := range []WatchConfig{
		{Displays: []string{"0"}},
		{Displays: []string{"elsewhere:0"}},
		{Displays: []string{":x"}},
		{Displays: []string{""}},
		{Quiet: -time.Second},
	} {
		if _, err := NewWatcher(cfg); err == nil {
			t.Errorf("NewWatcher takes %+v", cfg)
		}
	}
}

func TestFindServers(t *testing.T) {
	proc := t.TempDir()
	for pid, cmdline := range map[string]string{
		"10":   "/usr/lib/xorg/Xorg\x00:0\x00-seat\x00seat0\x00-auth\x00/var/run/lightdm/root/:0\x00vt7\x00",
		"11":   "/usr/lib/xorg/Xorg\x00vt2\x00-displayfd\x003\x00-auth\x00/run/user/1000/gdm/Xauthority\x00",
		"12":   "vim\x00-auth\x00/home/a/x\x00:0\x00",
		"13":   "Xvfb\x00:9\x00",
		"14":   "Xvnc\x00:2\x00-auth\x00",
		"15":   "X\x00:3\x00-auth\x00relative\x00",
		"16":   "",
		"self": "X\x00:4\x00-auth\x00/a\x00",
	} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "cmdline"), []byte(cmdline), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []xServer{{0, "/var/run/lightdm/root/:0"}, {anyDisplay, "/run/user/1000/gdm/Xauthority"}}
	if got := findServers(proc); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A process can give itself a command line of gigabytes. It costs no more than another's.
func TestFindServersLongCommandLine(t *testing.T) {
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "10"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(proc, "10", "cmdline")
	if err := os.WriteFile(file, []byte("Xorg\x00:0\x00-auth\x00/a\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 16<<20); err != nil { // zero bytes, each an argument
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := findServers(proc)
	runtime.ReadMemStats(&after)
	if want := []xServer{{0, "/a"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("it took %d bytes of memory", took)
	}
}

func TestReadAuthFileRefuses(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, authFileMost+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/dev/zero", dir, big, filepath.Join(dir, "none")} {
		if _, _, err := readAuthFile(path); err == nil {
			t.Errorf("reads %s", path)
		}
	}
}

// What is no regular file is not even opened: a stranger may have named a device. A socket would tell.
func TestReadAuthFileOpensFilesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, _, err := readAuthFile(path); err == nil || errors.Is(err, unix.ENXIO) {
		t.Errorf("a socket is opened: %v", err)
	}
}

func TestReadAuthFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cookies")
	if err := os.WriteFile(path, []byte("a cookie"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, owner, err := readAuthFile(path)
	if err != nil || string(b) != "a cookie" || owner != uint32(os.Getuid()) {
		t.Errorf("reads %q of user %d: %v", b, owner, err)
	}
}

// BenchmarkKeyPress measures from the key press to the watcher's callback.
func BenchmarkKeyPress(b *testing.B) {
	server := startXvfb(b, "")
	w, events := watching(b, WatchConfig{Displays: []string{server.name}, SkipTTYs: true, Quiet: 50 * time.Millisecond})
	keys := newKeyPresser(b, server)
	awaitQuiet(b, w, server.name)
	benchmarkInput(b, w, events, server.name, func() { keys.press(b) })
}

// benchmarkInput gives input after every quiet time, and reports how long it took to be seen.
func benchmarkInput(b *testing.B, w *Watcher, events <-chan Active, name string, input func()) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		awaitQuiet(b, w, name)
		drain(events)
		start := time.Now()
		input()
		took = append(took, awaitActive(b, events, name).At.Sub(start))
	}
	slices.Sort(took)
	ms := func(quantile float64) float64 {
		return float64(took[int(quantile*float64(len(took)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(ms(0.5), "p50-ms")
	b.ReportMetric(ms(0.99), "p99-ms")
	b.ReportMetric(ms(1), "max-ms")
}

// authEntry makes an entry of a cookie file.
func authEntry(family uint16, address, display, protocol string, cookie []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, family)
	for _, field := range []string{address, display, protocol, string(cookie)} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	return b
}
