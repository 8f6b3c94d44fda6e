package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/session"
	"skua/agent/x11"
)

const (
	displaysMost = 64 // watched at once

	// A display that cannot be reached is tried again after retryFirst, and then after longer and
	// longer up to retryLast. The arrival of a socket ends the waiting.
	retryFirst = 50 * time.Millisecond
	retryLast  = time.Minute

	// The directory of sockets does not exist: systemd makes it at boot, others with the first server.
	socketsAgain = time.Minute

	socketsHoldOff = 100 * time.Millisecond // sockets made without end wake the agent this seldom
)

// watchDisplays watches the configured displays, or those whose sockets it finds, until ctx ends.
func (w *Watcher) watchDisplays(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	changed := make(chan struct{}, 1) // sockets came or went
	wg.Go(func() { w.watchSockets(ctx, changed) })

	running := make(map[int]*display)
	ended := make(chan int)
	opened := sync.OnceFunc(w.opened)
	for {
		wanted := w.displays
		if wanted == nil {
			wanted = slices.DeleteFunc(findDisplays(w.cfg.X11), w.isXwayland)
		}
		for _, n := range wanted {
			if d := running[n]; d != nil {
				d.poke()
				continue
			}
			d := newDisplay(w, n)
			running[n] = d
			wg.Go(func() {
				d.run(ctx)
				select {
				case ended <- n:
				case <-ctx.Done():
				}
			})
		}
		opened()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-w.displaysChanged:
		case n := <-ended:
			delete(running, n)
		}
	}
}

// watchSockets tells changed when the sockets of X servers come or go. While their directory does
// not exist it is looked for now and then.
func (w *Watcher) watchSockets(ctx context.Context, changed chan<- struct{}) {
	for ctx.Err() == nil {
		err := w.followSockets(ctx, changed)
		w.log.Debug("directory of X servers not watched", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(socketsAgain):
		}
	}
}

func (w *Watcher) followSockets(ctx context.Context, changed chan<- struct{}) error {
	q, err := newInotify()
	if err != nil {
		return err
	}
	defer q.Close()
	defer context.AfterFunc(ctx, func() { q.Close() })()
	if _, err := q.add(w.cfg.X11, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		return err
	}
	select {
	case changed <- struct{}{}: // what came before the watch
	default:
	}
	for {
		events, err := q.read()
		if err != nil {
			return err
		}
		for ev := range events {
			if ev.mask&unix.IN_IGNORED != 0 {
				return fmt.Errorf("%s: %w", w.cfg.X11, os.ErrNotExist)
			}
		}
		select {
		case changed <- struct{}{}:
		default: // it has not looked yet since the last time
		}
		select {
		case <-ctx.Done():
		case <-time.After(socketsHoldOff):
		}
	}
}

// display watches one X server, over its deaths and returns.
type display struct {
	w      *Watcher
	n      int
	found  bool // not configured: it is forgotten when its socket is gone
	src    *source
	poked  chan struct{} // has a value when a new attempt is worth while
	begun  bool          // the server has told how it is
	noSync bool          // tests: the server cannot push

	unheard time.Time     // since when there has been a server that nothing can be learned of; zero means it is not so
	grace   time.Duration // that it is given to come up
}

func newDisplay(w *Watcher, n int) *display {
	return &display{
		w: w, n: n, found: w.displays == nil, poked: make(chan struct{}, 1), grace: displayGrace,
		src: w.addSource(":"+strconv.Itoa(n), true),
	}
}

func (d *display) poke() {
	select {
	case d.poked <- struct{}{}:
	default:
	}
}

// run watches until ctx ends, or until a display that was found has no socket any more.
func (d *display) run(ctx context.Context) {
	defer d.src.remove()
	wait := retryFirst
	for {
		began := time.Now()
		err := d.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if !d.unobserved(err, time.Now()) {
			level := slog.LevelWarn
			if d.found && errors.Is(err, unix.ECONNREFUSED) {
				level = slog.LevelInfo // the socket has outlived its server: nobody looks at that display
			}
			d.src.failedAs(level, err)
		} else if !d.src.isBusy() {
			d.src.unseen(err)
		}
		if d.found && !slices.Contains(findDisplays(d.w.cfg.X11), d.n) {
			return
		}
		if time.Since(began) > retryLast {
			wait = retryFirst // a good server died; one that dies at once is left alone for longer
		}
		again := time.After(wait)
		if wait == retryLast && d.found && errors.Is(err, unix.ECONNREFUSED) {
			again = nil // left by a server that is gone; the next one makes a socket of its own
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
			wait = min(2*wait, retryLast)
		case <-d.poked:
			wait = retryFirst // the socket may exist before the server answers
		}
	}
}

// unobserved says whether a display that could not be watched counts as the owner at work: there is a server, and neither it
// nor anything else tells of its input. A socket that nobody listens at is no display.
func (d *display) unobserved(err error, now time.Time) bool {
	if d.begun || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) || d.w.judged(d.n) ||
		d.found && d.w.isXwayland(d.n) {
		d.unheard = time.Time{}
		return false
	}
	if d.unheard.IsZero() {
		d.unheard = now
	}
	return now.Sub(d.unheard) >= d.grace
}

func (s *source) isBusy() bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.busy
}

// judged says whether something else decides about who sits in front of a display: a session that logind knows, or, without
// a logind, the keyboards and pointers of the machine.
func (w *Watcher) judged(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	watched := false
	for _, s := range w.sources {
		if s.watching && s.name == sourceDevices && !w.logind {
			return true
		}
		watched = watched || s.watching && strings.HasPrefix(s.name, ":")
	}
	return slices.ContainsFunc(w.logins, func(s session.Session) bool {
		m, err := x11.ParseDisplay(s.Display)
		return err == nil && m == n || err != nil && s.Person() && s.Type == "x11" && !watched // as the census has it
	})
}

// watch connects to the server and reports its input until the connection fails.
func (d *display) watch(ctx context.Context) error {
	d.begun = false
	x, err := d.dial(ctx)
	if err != nil {
		return err
	}
	defer x.Close()
	err = x11.ErrNoIdleTime
	if !d.noSync {
		err = x.Follow(ctx, d.w.cfg.Quiet, d.tell)
	}
	if errors.Is(err, x11.ErrNoIdleTime) {
		d.w.log.Warn("X server cannot tell of input and is polled", keySource, d.src.name)
		err = x.Poll(ctx, d.w.cfg.Quiet, d.tell)
	}
	return fmt.Errorf("display %s: %w", d.src.name, err)
}

// tell takes what the server says.
func (d *display) tell(in x11.Input) {
	now := time.Now()
	if !d.begun {
		d.begun = true
		d.src.watched(now.Add(-in.Idle))
		if !in.Busy {
			return
		}
	}
	if in.Busy {
		d.src.touched(now, true)
	} else {
		d.src.inputWas(now.Add(-in.Idle))
	}
}

// dial connects with whatever opens the display. Some servers let the users of their machine in
// without a cookie, which is tried last.
func (d *display) dial(ctx context.Context) (*x11.Conn, error) {
	err := x11.Listening(ctx, d.w.cfg.X11, d.n)
	if err != nil {
		return nil, fmt.Errorf("connect to display %s: %w", d.src.name, err) // no need to look for its cookies
	}
	for _, c := range append(d.w.cookies(d.n), cookie{anyone: true}) {
		var x *x11.Conn
		if x, err = x11.Dial(ctx, d.w.cfg.X11, d.n, c.value, c.allowed); err == nil {
			return x, nil
		}
		if _, unreachable := errors.AsType[*net.OpError](err); unreachable {
			break
		}
		d.w.log.Debug("display not opened", keySource, d.src.name, "error", err)
	}
	return nil, fmt.Errorf("connect to display %s: %w", d.src.name, err)
}
