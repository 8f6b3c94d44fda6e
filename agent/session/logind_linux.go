package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"skua/agent/sysbus"
)

const (
	logindName    = "org.freedesktop.login1"
	logindPath    = "/org/freedesktop/login1"
	logindManager = logindName + ".Manager"
	logindSession = logindName + ".Session"

	sessionsMost = 1024 // known at once; logind's own bound is higher

	// signalsHoldOff is how long signals are gathered: somebody may lock and unlock a session without end.
	signalsHoldOff = 50 * time.Millisecond
)

// ErrNoLogind says that nobody tells of sessions on this machine.
var ErrNoLogind = errors.New("logind cannot be asked for sessions")

// LogindConfig says how logind is followed.
type LogindConfig struct {
	// Address of the system bus; "" is $DBUS_SYSTEM_BUS_ADDRESS, or where it usually is.
	Address string

	// Changed is given all sessions at first, and whenever one came, went or changed. required
	Changed func([]Session)

	// Sleep is called with true before the machine goes to sleep, which waits for it as long as logind lets
	// it wait, and with false when it is awake again. With nil no sleep is delayed.
	Sleep func(begins bool)

	Log *slog.Logger // required
}

// logind is a connection to the system bus, on which logind tells of sessions.
type logind struct {
	cfg      LogindConfig
	conn     *dbus.Conn
	sessions map[dbus.ObjectPath]Session
	delay    *os.File // holds the sleep up; nil while it does not
	asleep   bool

	wake chan struct{} // has a value when what follows has something

	mu      sync.Mutex // guards what follows
	owner   string     // logind's own name on the bus; empty when it left
	changed map[dbus.ObjectPath]bool
	sleeps  []bool // what PrepareForSleep said
}

// FollowLogind tells of sessions and sleep until ctx ends or logind or the bus goes. Without a logind it
// fails at once with [ErrNoLogind].
//
// A signal is a hint only, and one that another than logind sends is not even that: what there is, is
// then asked of logind itself.
func FollowLogind(ctx context.Context, cfg LogindConfig) error {
	l := &logind{
		cfg: cfg, sessions: make(map[dbus.ObjectPath]Session),
		wake: make(chan struct{}, 1), changed: make(map[dbus.ObjectPath]bool),
	}
	conn, err := sysbus.Dial(ctx, sysbus.SystemAddress(cfg.Address), l)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoLogind, err)
	}
	l.conn = conn
	defer conn.Close()
	if err := l.begin(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNoLogind, err)
	}
	defer l.end()
	for {
		cfg.Changed(slices.Collect(maps.Values(l.sessions)))
		if err := l.wait(ctx); err != nil {
			return err
		}
	}
}

// begin subscribes and learns what there is.
func (l *logind) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sysbus.Wait) // for all of it
	defer cancel()
	from := dbus.WithMatchSender(logindName)
	err := sysbus.Subscribe(
		ctx, l.conn,
		[]dbus.MatchOption{from, dbus.WithMatchInterface(logindManager), dbus.WithMatchMember("SessionNew")},
		[]dbus.MatchOption{from, dbus.WithMatchInterface(logindManager), dbus.WithMatchMember("SessionRemoved")},
		[]dbus.MatchOption{from, dbus.WithMatchInterface(logindManager), dbus.WithMatchMember("PrepareForSleep")},
		[]dbus.MatchOption{from, dbus.WithMatchInterface(sysbus.Properties), dbus.WithMatchPathNamespace(logindPath + "/session")},
		sysbus.OwnerOf(logindName),
	)
	if err != nil {
		return err
	}
	owner, err := sysbus.Owner(ctx, l.conn, logindName)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.owner = owner
	l.mu.Unlock()
	var list []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	if err := l.manager(ctx, "ListSessions").Store(&list); err != nil {
		return err
	}
	for _, s := range list[:min(len(list), sessionsMost)] {
		l.look(ctx, s.Path)
	}
	l.hold(ctx)
	return nil
}

func (l *logind) manager(ctx context.Context, method string, args ...any) *dbus.Call {
	return sysbus.Call(ctx, l.conn, logindName, logindPath, logindManager+"."+method, args...)
}

// look asks for a session, which may be gone.
func (l *logind) look(ctx context.Context, path dbus.ObjectPath) {
	var props map[string]dbus.Variant
	err := sysbus.Call(ctx, l.conn, logindName, string(path), sysbus.Properties+".GetAll", logindSession).Store(&props)
	if err != nil {
		delete(l.sessions, path)
		return
	}
	if _, known := l.sessions[path]; known || len(l.sessions) < sessionsMost {
		l.sessions[path] = parseSession(props)
	}
}

// parseSession reads the properties of a session. One that is missing or strange is as if it were empty.
func parseSession(props map[string]dbus.Variant) Session {
	text := func(name string) string { s, _ := props[name].Value().(string); return s }
	yes := func(name string) bool { b, _ := props[name].Value().(bool); return b }
	first := func(name string) any {
		if pair, _ := props[name].Value().([]any); len(pair) > 0 {
			return pair[0]
		}
		return nil
	}
	s := Session{
		ID: text("Id"), Type: text("Type"), Class: text("Class"), State: text("State"), Display: text("Display"),
		Active: yes("Active"), Remote: yes("Remote"), Locked: yes("LockedHint"),
	}
	s.UID, _ = first("User").(uint32)
	s.Seat, _ = first("Seat").(string)
	return s
}

// wait waits until something has changed, and takes it in.
func (l *logind) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.conn.Context().Done():
			return errors.New("the system bus is gone")
		case <-l.wake:
		}
		l.mu.Lock()
		owner, changed, sleeps := l.owner, l.changed, l.sleeps
		l.changed, l.sleeps = make(map[dbus.ObjectPath]bool), nil
		l.mu.Unlock()
		if owner == "" {
			return errors.New("logind is gone")
		}
		for _, begins := range sleeps {
			l.sleep(ctx, begins)
		}
		for path := range changed {
			l.look(ctx, path)
		}
		// Only now, so that the first sign is not late.
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(signalsHoldOff):
		}
		if len(changed) > 0 {
			return nil
		}
	}
}

// DeliverSignal implements [dbus.SignalHandler]. However many signals come, no more than one of each
// session is kept.
func (l *logind) DeliverSignal(iface, name string, signal *dbus.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case signal.Sender == sysbus.Driver && iface == sysbus.Driver && name == sysbus.OwnerChange:
		l.owner = ""
	case signal.Sender != l.owner:
		return
	case iface == logindManager && name == "PrepareForSleep":
		begins, ok := argument[bool](signal, 0)
		if !ok || len(l.sleeps) >= 16 {
			return
		}
		l.sleeps = append(l.sleeps, begins)
	case iface == logindManager && (name == "SessionNew" || name == "SessionRemoved"):
		path, ok := argument[dbus.ObjectPath](signal, 1)
		if !ok || len(l.changed) >= sessionsMost {
			return
		}
		l.changed[path] = true
	case iface == sysbus.Properties && strings.HasPrefix(string(signal.Path), logindPath+"/session/") && len(l.changed) < sessionsMost:
		l.changed[signal.Path] = true
	default:
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// argument gives the i-th argument of a signal, if it is of that type.
func argument[T any](signal *dbus.Signal, i int) (T, bool) {
	if i >= len(signal.Body) {
		var none T
		return none, false
	}
	v, ok := signal.Body[i].(T)
	return v, ok
}

// sleep tells of the machine's going to sleep, which then waits no longer, or of its waking up.
func (l *logind) sleep(ctx context.Context, begins bool) {
	if l.cfg.Sleep == nil || l.asleep == begins {
		return
	}
	l.asleep = begins
	l.cfg.Sleep(begins)
	if begins {
		l.release()
	} else {
		l.hold(ctx)
	}
}

// hold has the next sleep wait for us.
func (l *logind) hold(ctx context.Context) {
	if l.cfg.Sleep == nil || l.delay != nil {
		return
	}
	var fd dbus.UnixFD
	if err := l.manager(ctx, "Inhibit", "sleep", "Skua", "jobs are frozen first", "delay").Store(&fd); err != nil {
		l.cfg.Log.Debug("a sleep of the machine will not wait for the jobs to be frozen", "error", err)
		return
	}
	l.delay = os.NewFile(uintptr(fd), "inhibitor")
}

func (l *logind) release() {
	if l.delay != nil {
		l.delay.Close()
		l.delay = nil
	}
}

// end leaves nothing frozen for a sleep whose end nobody would tell of.
func (l *logind) end() {
	if l.asleep {
		l.cfg.Sleep(false)
	}
	l.release()
}
