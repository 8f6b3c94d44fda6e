package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"skua/agent/sysbus"
)

// privateBus starts a bus of the test's own, on which everybody may do everything.
func privateBus(t *testing.T) (address string) {
	t.Helper()
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("dbus-daemon is not installed")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(`<busconfig><type>system</type><listen>unix:path=`+dir+`/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(io.LimitReader(out, 1024)).ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon does not start: %v", err)
	}
	return strings.TrimSpace(line)
}

func connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// fakeLogind stands in for logind on a bus: it has sessions, and hands out locks that hold a sleep up.
type fakeLogind struct {
	t    *testing.T
	conn *dbus.Conn

	mu       sync.Mutex // guards what follows
	sessions map[dbus.ObjectPath]map[string]dbus.Variant
	lock     string // what /proc calls the lock that was handed out last
}

func newFakeLogind(t *testing.T, address string) *fakeLogind {
	t.Helper()
	f := &fakeLogind{t: t, conn: connect(t, address), sessions: map[dbus.ObjectPath]map[string]dbus.Variant{}}
	if err := f.conn.ExportMethodTable(map[string]any{"ListSessions": f.list, "Inhibit": f.inhibit}, logindPath, logindManager); err != nil {
		t.Fatal(err)
	}
	if reply, err := f.conn.RequestName(logindName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("name of logind: %v, %v", reply, err)
	}
	return f
}

type listed struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

func (f *fakeLogind) list() ([]listed, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []listed{}
	for path, props := range f.sessions {
		all = append(all, listed{props["Id"].Value().(string), 0, "", "", path})
	}
	return all, nil
}

func (f *fakeLogind) inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if what != "sleep" || mode != "delay" {
		f.t.Errorf("a lock on %q of mode %q", what, mode)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	f.t.Cleanup(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		r.Close()
		w.Close()
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	fd := int(w.Fd())
	lock, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	f.lock = lock
	return dbus.UnixFD(fd), nil
}

// held reports whether somebody has the lock that was handed out last: this process has its two ends, and
// the client, which is in this process too, a third.
func (f *fakeLogind) held() bool {
	f.mu.Lock()
	lock := f.lock
	f.mu.Unlock()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		f.t.Error(err)
	}
	ends := 0
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && to == lock {
			ends++
		}
	}
	return lock != "" && ends > 2
}

// set makes a session, or changes one, and says so as logind does.
func (f *fakeLogind) set(s Session) {
	f.t.Helper()
	path := dbus.ObjectPath(logindPath + "/session/_3" + s.ID)
	props := map[string]dbus.Variant{
		"Id": dbus.MakeVariant(s.ID), "Type": dbus.MakeVariant(s.Type), "Class": dbus.MakeVariant(s.Class),
		"State": dbus.MakeVariant(s.State), "Display": dbus.MakeVariant(s.Display), "Active": dbus.MakeVariant(s.Active),
		"Remote": dbus.MakeVariant(s.Remote), "LockedHint": dbus.MakeVariant(s.Locked),
		"User": dbus.MakeVariant(struct {
			UID  uint32
			Path dbus.ObjectPath
		}{s.UID, "/org/freedesktop/login1/user/_0"}),
		"Seat": dbus.MakeVariant(struct {
			Name string
			Path dbus.ObjectPath
		}{s.Seat, "/org/freedesktop/login1/seat/seat0"}),
	}
	f.mu.Lock()
	_, known := f.sessions[path]
	f.sessions[path] = props
	f.mu.Unlock()
	getAll := func(string) (map[string]dbus.Variant, *dbus.Error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if now, ok := f.sessions[path]; ok {
			return now, nil
		}
		return nil, dbus.NewError("org.freedesktop.DBus.Error.UnknownObject", nil)
	}
	if err := f.conn.ExportMethodTable(map[string]any{"GetAll": getAll}, path, sysbus.Properties); err != nil {
		f.t.Fatal(err)
	}
	if known {
		f.emit(path, sysbus.Properties+".PropertiesChanged", logindSession, map[string]dbus.Variant{}, []string{"Active", "LockedHint"})
	} else {
		f.emit(logindPath, logindManager+".SessionNew", s.ID, path)
	}
}

func (f *fakeLogind) remove(id string) {
	path := dbus.ObjectPath(logindPath + "/session/_3" + id)
	f.mu.Lock()
	delete(f.sessions, path)
	f.mu.Unlock()
	f.emit(logindPath, logindManager+".SessionRemoved", id, path)
}

func (f *fakeLogind) emit(path dbus.ObjectPath, name string, args ...any) {
	f.t.Helper()
	if err := f.conn.Emit(path, name, args...); err != nil {
		f.t.Fatal(err)
	}
}

func TestFollowLogind(t *testing.T) {
	address := privateBus(t)
	f := newFakeLogind(t, address)
	anna := Session{ID: "1", UID: 1000, Seat: "seat0", Type: "wayland", Class: "user", State: "active", Active: true}
	f.set(anna)
	changes := make(chan []Session, 64)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- FollowLogind(ctx, LogindConfig{Address: address, Changed: func(all []Session) { changes <- all }, Log: slog.New(slog.DiscardHandler)})
	}()
	awaitSessions(t, changes, anna)
	bert := Session{ID: "2", UID: 1001, Type: "x11", Class: "user", State: "online", Display: ":7", Remote: true}
	f.set(bert)
	awaitSessions(t, changes, anna, bert)
	anna.Locked, anna.Active = true, false
	f.set(anna)
	awaitSessions(t, changes, anna, bert)
	f.remove("2")
	awaitSessions(t, changes, anna)

	// Another than logind on the bus can say what it likes.
	liar := connect(t, address)
	anna.Locked = false
	f.mu.Lock()
	for _, props := range f.sessions {
		props["LockedHint"] = dbus.MakeVariant(false)
	}
	f.mu.Unlock()
	lies := &fakeLogind{t: t, conn: liar}
	lies.emit(logindPath, logindManager+".SessionRemoved", "1", dbus.ObjectPath(logindPath+"/session/_31"))
	lies.emit(logindPath+"/session/_31", sysbus.Properties+".PropertiesChanged", logindSession, map[string]dbus.Variant{}, []string{})
	bert.ID = "3"
	f.set(bert)
	lied := anna
	lied.Locked = true // it was not looked at again
	awaitSessions(t, changes, lied, bert)
	stop()
	if err := await(t, "the end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// awaitSessions waits until exactly these sessions are told of.
func awaitSessions(t *testing.T, changes <-chan []Session, want ...Session) {
	t.Helper()
	for {
		got := await(t, "news of the sessions", changes)
		slices.SortFunc(got, func(a, b Session) int { return strings.Compare(a.ID, b.ID) })
		if slices.Equal(got, want) {
			return
		}
		t.Logf("sessions: %+v", got)
	}
}

// A sleep waits until the jobs are known to stand still, and the next sleep does, too.
func TestSleepWaits(t *testing.T) {
	address := privateBus(t)
	f := newFakeLogind(t, address)
	sleeps, frozen, first := make(chan bool, 4), make(chan struct{}), make(chan []Session, 4)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- FollowLogind(ctx, LogindConfig{
			Address: address, Log: slog.New(slog.DiscardHandler),
			Changed: func(all []Session) { first <- all },
			Sleep: func(begins bool) {
				sleeps <- begins
				if begins {
					<-frozen
				}
			},
		})
	}()
	await(t, "logind is followed", first)
	for range 2 {
		eventually(t, "nothing holds the sleep up", f.held)
		f.emit(logindPath, logindManager+".PrepareForSleep", true)
		if !await(t, "the beginning of the sleep", sleeps) {
			t.Error("the sleep begins with its end")
		}
		if !f.held() {
			t.Error("the machine sleeps before the jobs stand still")
		}
		frozen <- struct{}{}
		eventually(t, "the machine may not sleep", func() bool { return !f.held() })
		f.emit(logindPath, logindManager+".PrepareForSleep", false)
		if await(t, "the end of the sleep", sleeps) {
			t.Error("the sleep ends with its beginning")
		}
	}
	f.emit(logindPath, logindManager+".PrepareForSleep", true)
	await(t, "the beginning of the last sleep", sleeps)
	frozen <- struct{}{}
	stop()
	if await(t, "the end of the watch", sleeps) {
		t.Error("an agent that ends leaves the jobs frozen for a sleep")
	}
	await(t, "the end", ended)
}

func TestNoLogind(t *testing.T) {
	for name, address := range map[string]string{
		"no bus":    "unix:path=" + filepath.Join(t.TempDir(), "none"),
		"no logind": privateBus(t),
	} {
		err := FollowLogind(t.Context(), LogindConfig{Address: address, Changed: func([]Session) { t.Error("sessions are told of") }, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, ErrNoLogind) {
			t.Errorf("%s: %v, want %v", name, err, ErrNoLogind)
		}
	}
}

func TestParseSession(t *testing.T) {
	for name, props := range map[string]map[string]dbus.Variant{
		"nothing": nil,
		"strange": {
			"Id": dbus.MakeVariant(7), "User": dbus.MakeVariant("root"), "Seat": dbus.MakeVariant([]string{}),
			"Active": dbus.MakeVariant("yes"), "Class": dbus.MakeVariant(dbus.MakeVariant("user")),
		},
	} {
		if s := parseSession(props); s != (Session{}) {
			t.Errorf("%s is read as %+v", name, s)
		}
	}
}
