package probe

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"skua/agent/session"
)

func TestMain(m *testing.M) {
	session.MaybeHelper()
	os.Exit(m.Run())
}

// Who needs a helper, and what is thought of somebody who cannot be seen.
func TestWanted(t *testing.T) {
	user := func(uid uint32, kind string, change func(*session.Session)) session.Session {
		s := session.Session{ID: strconv.Itoa(int(uid)), UID: uid, Seat: "seat0", Type: kind, Class: "user", State: "active", Active: true}
		if change != nil {
			change(&s)
		}
		return s
	}
	wayland := user(1000, "wayland", nil)
	socket := map[uint32][]string{1000: {"wayland-0"}}
	for _, tt := range []struct {
		name string
		in   census
		want map[uint32]want
	}{
		{"nobody", census{logind: true}, nil},
		{"a compositor without logind", census{sockets: socket}, map[uint32]want{1000: {sockets: "wayland-0", presence: atWork, console: true}}},
		{
			"the same with keyboards that are watched",
			census{sockets: socket, devices: true},
			map[uint32]want{1000: {sockets: "wayland-0", presence: byDevices, console: true}},
		},
		{"a login screen without logind", census{sockets: map[uint32][]string{111: {"wayland-0"}}}, nil},
		{
			"a session",
			census{logind: true, logins: []session.Session{wayland}, sockets: socket},
			map[uint32]want{1000: {sockets: "wayland-0", presence: atWork, console: true, graphical: true}},
		},
		{
			"a session whose compositor is not there yet",
			census{logind: true, logins: []session.Session{wayland}},
			map[uint32]want{1000: {presence: atWork, console: true, graphical: true}},
		},
		{
			"a session at the machine's own keyboard",
			census{logind: true, devices: true, logins: []session.Session{wayland}, sockets: socket},
			map[uint32]want{1000: {sockets: "wayland-0", presence: byDevices, console: true, graphical: true}},
		},
		{
			"a session from afar, which the keyboard says nothing of",
			census{logind: true, devices: true, sockets: socket, logins: []session.Session{user(1000, "wayland", func(s *session.Session) { s.Seat, s.Remote = "", true })}},
			map[uint32]want{1000: {sockets: "wayland-0", presence: atWork, graphical: true}},
		},
		{
			"a locked session",
			census{logind: true, logins: []session.Session{user(1000, "wayland", func(s *session.Session) { s.Locked = true })}},
			map[uint32]want{1000: {presence: away, console: true, graphical: true}},
		},
		{
			"a session in the background",
			census{logind: true, logins: []session.Session{user(1000, "wayland", func(s *session.Session) { s.Active = false })}},
			map[uint32]want{1000: {presence: away, console: true, graphical: true}},
		},
		{
			"one locked and one not",
			census{logind: true, logins: []session.Session{user(1000, "wayland", func(s *session.Session) { s.ID, s.Locked = "2", true }), wayland}},
			map[uint32]want{1000: {presence: atWork, console: true, graphical: true}},
		},
		{"a session that is being left", census{logind: true, logins: []session.Session{user(1000, "wayland", func(s *session.Session) { s.State = "closing" })}}, nil},
		{"a login screen", census{logind: true, logins: []session.Session{user(111, "wayland", func(s *session.Session) { s.Class = "greeter" })}}, nil},
		{"a text console", census{logind: true, logins: []session.Session{user(1000, "tty", nil)}}, nil},
		{
			"a compositor started from a text console",
			census{logind: true, logins: []session.Session{user(1000, "tty", nil)}, sockets: socket},
			map[uint32]want{1000: {sockets: "wayland-0", presence: atWork, console: true}},
		},
		{
			"a compositor of somebody who is not logged in",
			census{logind: true, sockets: socket},
			map[uint32]want{1000: {sockets: "wayland-0", presence: away}},
		},
		{"an X11 session whose display is watched", census{logind: true, logins: []session.Session{user(1000, "x11", nil)}}, nil},
		{
			"an X11 session that the agent cannot watch",
			census{
				logind: true, logins: []session.Session{user(1000, "x11", func(s *session.Session) { s.Display = ":3" })},
				bare: []session.Session{user(1000, "x11", func(s *session.Session) { s.Display = ":3" })},
			},
			map[uint32]want{1000: {display: ":3", presence: atWork, console: true, graphical: true}},
		},
		{"root's own desktop", census{logind: true, logins: []session.Session{user(0, "wayland", nil)}}, map[uint32]want{0: {presence: atWork, console: true, graphical: true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.wanted(); !maps.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// sitter is somebody whose runtime directory the test has made.
type sitter struct {
	uid     uint32
	runUser string
	dir     string
	name    string // of the source
}

func newUser(t testing.TB) sitter {
	t.Helper()
	u := sitter{uid: uint32(os.Getuid())}
	if u.uid == 0 {
		u.uid = 60000 + uint32(os.Getpid())%5000
	}
	var err error
	if u.runUser, err = os.MkdirTemp("/tmp", "skua-probe-"); err != nil { // short: the name of a socket has 107 letters
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(u.runUser) })
	u.dir = filepath.Join(u.runUser, strconv.Itoa(int(u.uid)))
	u.name = "session of user " + strconv.Itoa(int(u.uid))
	if err := os.Chmod(u.runUser, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(u.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(u.dir, int(u.uid), int(u.uid)); err != nil {
		t.Fatal(err)
	}
	return u
}

// config has a watcher see the user's sessions alone, without a logind.
func (u sitter) config() WatchConfig {
	return WatchConfig{
		SkipTTYs: true, SkipDisplays: true, SkipDevices: true, Sessions: true,
		RunUser: u.runUser, SystemBus: "unix:path=" + filepath.Join(u.runUser, "none"),
	}
}

// run starts a program as the user.
func (u sitter) run(t testing.TB, env []string, program string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(program + " is not installed")
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{"XDG_RUNTIME_DIR=" + u.dir, "HOME=" + u.dir, "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Dir = u.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.uid, Gid: u.uid}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(cmd) })
	return cmd
}

func stop(cmd *exec.Cmd) {
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	cmd.Wait()
}

// sway starts a compositor without a screen, and gives the name of its socket.
func (u sitter) sway(t testing.TB) (cmd *exec.Cmd, display string) {
	t.Helper()
	config := filepath.Join(u.runUser, "sway.conf")
	if err := os.WriteFile(config, []byte("xwayland disable\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, _ := filepath.Glob(filepath.Join(u.dir, "wayland-*"))
	cmd = u.run(t, []string{"WLR_BACKENDS=headless", "WLR_RENDERER=pixman", "WLR_LIBINPUT_NO_DEVICES=1"}, "sway", "-c", config)
	eventually(t, "sway makes no socket", func() bool {
		now, _ := filepath.Glob(filepath.Join(u.dir, "wayland-*"))
		for _, path := range now {
			if !slices.Contains(before, path) && !strings.HasSuffix(path, ".lock") {
				display = filepath.Base(path)
				return true
			}
		}
		return false
	})
	return cmd, display
}

// wtype types as the user would.
func (u sitter) wtype(t testing.TB, display string, keys ...string) {
	t.Helper()
	path, err := exec.LookPath("wtype")
	if err != nil {
		t.Skip("wtype is not installed")
	}
	cmd := exec.Command(path, keys...)
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + u.dir, "WAYLAND_DISPLAY=" + display}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("wtype: %v: %s", err, out)
	}
}

// A compositor comes while the agent is there, is typed on, is killed, and comes back.
func TestWaylandSession(t *testing.T) {
	u := newUser(t)
	w, events := watching(t, u.config())
	for range 2 {
		cmd, display := u.sway(t)
		awaitQuiet(t, w, u.name)
		for range 3 {
			awaitQuiet(t, w, u.name)
			drain(events)
			u.wtype(t, display, "a")
			awaitActive(t, events, u.name)
			if idle := w.Idle(time.Now()); idle > testWait {
				t.Errorf("after a key the owner is idle for %v", idle)
			}
		}
		if _, ok := w.ConsoleIdle(time.Now()); !ok {
			t.Error("a session of this machine does not count as its console")
		}
		awaitQuiet(t, w, u.name)
		stop(cmd)
		// Its socket stays, but nobody answers.
		eventually(t, "the session of a compositor that is gone is still watched", func() bool {
			s, ok := state(w, u.name)
			return !ok || !s.Watching && !s.Busy
		})
		leftovers, _ := filepath.Glob(filepath.Join(u.dir, "wayland-*"))
		for _, l := range leftovers {
			os.Remove(l)
		}
		eventually(t, "a user without a socket is still listed", func() bool {
			_, ok := state(w, u.name)
			return !ok
		})
		if idle := w.Idle(time.Now()); idle > testWait {
			t.Errorf("the input in a session that is gone is forgotten: idle for %v", idle)
		}
	}
}

// Killing the helper is no way to be away: somebody is there until another helper knows better.
func TestKilledHelperIsReplaced(t *testing.T) {
	u := newUser(t)
	w, events := watching(t, u.config())
	_, display := u.sway(t)
	awaitQuiet(t, w, u.name)
	for range 2 {
		pid := helperOf(t)
		drain(events)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitActive(t, events, u.name)
		awaitQuiet(t, w, u.name)
		if helperOf(t) == pid {
			t.Error("the helper is still the same")
		}
		drain(events)
		u.wtype(t, display, "b")
		awaitActive(t, events, u.name)
		awaitQuiet(t, w, u.name)
	}
}

// helperOf finds the one helper of this process.
func helperOf(t testing.TB) int {
	t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.HasPrefix(string(cmdline), "skua-session\x00") {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if fields[1] == strconv.Itoa(os.Getpid()) && fields[0] != "Z" {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("there is no helper")
	return 0
}

// Weston, like every compositor that tells nobody, is one that somebody sits at; a socket that is as dumb
// as that stands in for it. With its end the owner is away since then.
func TestBlindSession(t *testing.T) {
	u := newUser(t)
	w, events := watching(t, u.config())
	l := u.deafCompositor(t, "wayland-0")
	awaitActive(t, events, u.name)
	eventually(t, "a session that cannot be seen does not count as somebody at work", func() bool {
		s, ok := state(w, u.name)
		return ok && s.Busy && !s.Watching && s.Err != nil
	})
	if idle := w.Idle(time.Now()); idle != 0 {
		t.Errorf("the owner is idle for %v", idle)
	}
	l.Close()
	os.Remove(filepath.Join(u.dir, "wayland-0"))
	eventually(t, "a session that is over still counts", func() bool { return w.Idle(time.Now()) > 0 })
	if idle := w.Idle(time.Now()); idle > testWait {
		t.Errorf("just after the session the owner is idle for %v", idle)
	}
}

// A short-lived look, as that of "policy explain", knows of a session.
func TestSettleWaitsForSessions(t *testing.T) {
	u := newUser(t)
	u.deafCompositor(t, "wayland-0")
	w, err := NewWatcher(u.config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	eventually(t, "the session is not seen", func() bool {
		w.Settle(ctx)
		return w.Idle(time.Now()) == 0
	})
	cancel()
	<-done
}
