package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/footprint"
	"skua/agent/wayland"
	"skua/agent/x11"
)

const (
	helperName = "skua-session" // what this program is called when it is executed again
	helperFD   = 3              // its end of the socket

	compositorsMost = 8 // of one user
)

// canHelp is set when this program calls MaybeHelper, without which what is executed again as a helper
// would do whatever the program does.
var canHelp atomic.Bool

// MaybeHelper takes over when this process is not what its main believes, but a helper in a user's
// session. Then it does not return. It must be called before anything else is done.
func MaybeHelper() {
	canHelp.Store(true)
	if filepath.Base(os.Args[0]) == helperName {
		os.Exit(helperMain())
	}
}

// helperMain is the helper: its arguments are the ids of its user and the quiet time in milliseconds.
func helperMain() int {
	var ids [3]int
	for i := range ids {
		n, err := strconv.Atoi(append(os.Args, "", "", "")[1+i])
		if err != nil {
			fmt.Fprintln(os.Stderr, helperName+": only an agent can start a session's helper")
			return 2
		}
		ids[i] = n
	}
	if err := dropRights(ids[0], ids[1]); err != nil {
		return 3
	}
	if err := unix.SetNonblock(helperFD, true); err != nil { // else a thread would wait in it
		return 2
	}
	agent := os.NewFile(helperFD, "agent")
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = agent.Read(make([]byte, 1)) // nothing ever comes: the agent is gone or wants no more
		stop()
	}()
	h := helper{quiet: time.Duration(ids[2]) * time.Millisecond, tell: func(r Report) error {
		_, err := agent.Write(r.encode())
		return err
	}}
	if err := h.run(ctx); err != nil && ctx.Err() == nil {
		return 1
	}
	return 0
}

// helper follows the input of one user, whose rights it has.
type helper struct {
	quiet time.Duration
	tell  func(Report) error
}

// source is something that tells of input.
type source struct {
	kind   Source
	follow func(ctx context.Context, quiet time.Duration, tell func(input)) error
	close  func() error
}

// run reports until a source or the agent is gone, or at once when there is no source.
func (h *helper) run(ctx context.Context) error {
	sources, verdict := find(ctx)
	defer func() {
		for _, s := range sources {
			s.close()
		}
	}()
	if verdict != 0 {
		return h.tell(Report{Kind: verdict})
	}
	type news struct {
		source int
		in     input
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	heard := make(chan news)
	for i, s := range sources {
		go func() { // ends with the process
			err := s.follow(ctx, h.quiet, func(in input) {
				select {
				case heard <- news{i, in}:
				case <-ctx.Done():
				}
			})
			stop(cmp.Or(err, errors.New("a source has ended")))
		}()
	}
	sum, started := newTally(len(sources)), true
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case n := <-heard:
			in, ok := sum.hear(n.source, n.in, time.Now())
			if !ok {
				continue
			}
			r := Report{Kind: Quiet, Source: sources[n.source].kind, Idle: in.idle}
			if in.busy {
				r.Kind = Busy
			}
			if err := h.tell(r); err != nil {
				return err
			}
			if started && r.Kind == Quiet {
				started = false
				new(footprint.Footprint).Rest()
			}
		}
	}
}

// find connects with what tells of the user's input. Without any, or when there is a compositor of which
// nothing tells, it says so.
func find(ctx context.Context) (sources []source, verdict Kind) {
	blind := false
	for _, path := range compositors() {
		c, err := wayland.Dial(ctx, path)
		switch {
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, os.ErrNotExist): // left by one that is gone
		case err != nil:
			blind = true
		case c.Tells():
			sources = append(sources, compositor{c}.source())
		default:
			c.Close()
			blind = true
		}
	}
	address := os.Getenv("DBUS_SESSION_BUS_ADDRESS")
	if address != "" && (blind || len(sources) == 0) {
		if m, err := dialMutter(ctx, address); err == nil {
			sources, blind = append(sources, source{Mutter, m.follow, m.Close}), false
		}
	}
	if display := os.Getenv("DISPLAY"); display != "" && !blind && len(sources) == 0 {
		x, err := openDisplay(ctx, display)
		if err == nil {
			sources = append(sources, source{X11, x.follow, x.close})
		} else {
			blind = true
		}
	}
	switch {
	case blind:
		return sources, Blind
	case len(sources) == 0:
		return nil, Nobody
	}
	return sources, 0
}

// compositors lists the sockets of Wayland compositors in the user's runtime directory.
func compositors() []string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return nil
	}
	if name := os.Getenv("WAYLAND_DISPLAY"); filepath.IsAbs(name) {
		return []string{name}
	} else if name != "" {
		return []string{filepath.Join(dir, name)}
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "wayland-*")) // the pattern is well formed
	var found []string
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.Mode().Type() == os.ModeSocket && len(found) < compositorsMost {
			found = append(found, p)
		}
	}
	return found
}

// compositor is a Wayland compositor.
type compositor struct{ *wayland.Conn }

func (c compositor) source() source { return source{Wayland, c.follow, c.Close} }

func (c compositor) follow(ctx context.Context, quiet time.Duration, tell func(input)) error {
	return c.Follow(ctx, quiet, func(in wayland.Input) { tell(input{busy: in.Busy, idle: in.Idle}) })
}

// display is an X server that may have to be polled.
type display struct {
	open func(context.Context) (*x11.Conn, error)
}

// openDisplay finds a cookie that opens the display. The server is tried at once, so that what cannot be opened
// is no source.
func openDisplay(ctx context.Context, name string) (*display, error) {
	n, err := x11.ParseDisplay(name)
	if err != nil {
		return nil, err
	}
	file := os.Getenv("XAUTHORITY")
	if home := os.Getenv("HOME"); file == "" && home != "" {
		file = filepath.Join(home, ".Xauthority")
	}
	cookies := [][]byte{nil} // some servers let their user in without
	if b, err := os.ReadFile(file); err == nil {
		cookies = append(x11.ParseAuthority(b, n), nil)
	}
	d := &display{open: func(ctx context.Context) (x *x11.Conn, err error) {
		for _, c := range cookies {
			if x, err = x11.Dial(ctx, "/tmp/.X11-unix", n, c, nil); err == nil {
				return x, nil
			}
		}
		return nil, err
	}}
	x, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	x.Close()
	return d, nil
}

func (d *display) follow(ctx context.Context, quiet time.Duration, tell func(input)) error {
	x, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer x.Close()
	pass := func(in x11.Input) {
		if in.Busy {
			tell(input{busy: true})
		} else {
			tell(input{idle: in.Idle})
		}
	}
	err = x.Follow(ctx, quiet, pass)
	if errors.Is(err, x11.ErrNoIdleTime) {
		err = x.Poll(ctx, quiet, pass)
	}
	return err
}

func (d *display) close() error { return nil }

// helperEnv is the environment of a helper: what it needs to find its user's servers, and what keeps it small.
func (c HelperConfig) helperEnv() []string {
	env := []string{
		"GOMAXPROCS=1", "GOMEMLIMIT=8MiB", "GODEBUG=containermaxprocs=0,updatemaxprocs=0,disablethp=1",
		"XDG_RUNTIME_DIR=" + c.RuntimeDir,
		"DBUS_SESSION_BUS_ADDRESS=unix:path=" + c.RuntimeDir + "/bus",
	}
	for _, v := range []struct{ name, value string }{
		{"DISPLAY", c.Display}, {"XAUTHORITY", c.XAuthority}, {"HOME", c.Home},
	} {
		if v.value != "" && !strings.ContainsRune(v.value, 0) {
			env = append(env, v.name+"="+v.value)
		}
	}
	return env
}
