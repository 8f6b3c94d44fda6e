package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/pause"
)

// Names of the two groups of terminals.
const (
	sourceTerminals = "terminals" // pseudo-terminals: ssh, terminal windows
	sourceVTs       = "console"   // the machine's own text consoles
)

// watchTTYs reports input to terminals until ctx ends.
//
// The sign of input is that a program took it: a read of the terminal's own device gives IN_ACCESS.
// Output gives IN_MODIFY, and the terminal emulator's side is another device, so what programs
// print is never taken for typing. A program that opened /dev/tty reads through that name, so it is
// watched too.
func (w *Watcher) watchTTYs(ctx context.Context) {
	opened := sync.OnceFunc(w.opened)
	defer opened()
	t := ttys{w: w, terminals: w.addSource(sourceTerminals, false)}
	for {
		err := t.follow(ctx, opened)
		if ctx.Err() != nil {
			return
		}
		t.terminals.failed(err)
		opened()
		if errors.Is(err, os.ErrNotExist) || pause.For(ctx, peopleAgain) != nil { // else the kernel had no room for a watch
			return
		}
	}
}

// follow reports input until ctx ends or it cannot be seen any more. It calls opened when it can.
func (t *ttys) follow(ctx context.Context, opened func()) error {
	q, err := newInotify()
	if err != nil {
		return err
	}
	defer q.Close()
	defer context.AfterFunc(ctx, func() { q.Close() })()
	t.q, t.watches = q, make(map[int32]*source)
	if err := t.start(); err != nil {
		return err
	}
	opened()
	for {
		events, err := q.read()
		if err != nil {
			return fmt.Errorf("read inotify: %w", err)
		}
		now := time.Now()
		for ev := range events {
			t.handle(ev, now)
		}
		// Somebody is typing, which was reported at once; more of it is looked at less often.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(t.w.holdOff()):
		}
	}
}

// holdOff is how long terminals are left alone after an event, so that a program reading a terminal
// without end wakes the agent a few times a second only.
func (w *Watcher) holdOff() time.Duration { return w.cfg.Quiet / 4 }

// ttys is the state of watchTTYs; one goroutine owns it.
type ttys struct {
	w         *Watcher
	q         *inotify
	terminals *source
	consoles  *source           // nil while there are none
	dir       int32             // watch of the directory of pseudo-terminals
	watches   map[int32]*source // watches of terminals
}

// start watches the terminals that exist, and the directory where others appear.
func (t *ttys) start() error {
	dev := t.w.cfg.Dev
	dir, err := t.q.add(filepath.Join(dev, "pts"), unix.IN_CREATE|unix.IN_ONLYDIR)
	if err != nil {
		return err
	}
	t.dir = dir
	last := t.addAll(filepath.Join(dev, "pts", "[0-9]*"), t.terminals)
	t.addAll(filepath.Join(dev, "tty"), t.terminals) // everybody's terminal: its own time says nothing
	t.terminals.watched(last)

	consoles := filepath.Join(dev, "tty[1-9]*")
	if found, _ := filepath.Glob(consoles); len(found) > 0 {
		if t.consoles == nil {
			t.consoles = t.w.addSource(sourceVTs, true)
		}
		t.consoles.watched(t.addAll(consoles, t.consoles))
	}
	return nil
}

// addAll watches the terminals that match pattern, and returns when the newest was last read as the
// kernel tells it, to within some seconds.
func (t *ttys) addAll(pattern string, s *source) time.Time {
	var last time.Time
	paths, _ := filepath.Glob(pattern) // the pattern is well formed; a directory that is missing matches nothing
	for _, path := range paths {
		wd, err := t.q.add(path, unix.IN_ACCESS)
		if err != nil {
			t.w.log.Debug("terminal not watched", keySource, s.name, "error", err) // it has just been closed
			continue
		}
		t.watches[wd] = s
		if at := lastRead(path); at.After(last) {
			last = at
		}
	}
	if last.IsZero() {
		return last
	}
	return sinceBoot(last, time.Now(), bootTime())
}

// sinceBoot takes a time of the wall clock to one that goes on with now, whatever becomes of the wall clock. The clock may
// have been set since, so that the time lies ahead, or before the machine was switched on.
func sinceBoot(at, now, boot time.Time) time.Time {
	ago := min(max(now.Sub(at), 0), max(now.Sub(boot), 0))
	return now.Add(-ago)
}

func (t *ttys) handle(ev fileEvent, now time.Time) {
	switch {
	case ev.mask&unix.IN_Q_OVERFLOW != 0:
		// Which terminals appeared is lost: look again. Watching one twice gives the same watch.
		t.addAll(filepath.Join(t.w.cfg.Dev, "pts", "[0-9]*"), t.terminals)
		t.input(t.terminals, now)
	case ev.mask&unix.IN_IGNORED != 0:
		delete(t.watches, ev.watch) // the terminal is gone
	case ev.watch == t.dir && ev.mask&unix.IN_CREATE != 0:
		// Somebody arrives. Also the first input may precede the watch.
		t.addAll(filepath.Join(t.w.cfg.Dev, "pts", filepath.Base(ev.name)), t.terminals)
		t.input(t.terminals, now)
	case ev.mask&unix.IN_ACCESS != 0:
		if s := t.watches[ev.watch]; s != nil {
			t.input(s, now)
		}
	}
}

// input notes input to s at now, and reports it when s has been quiet. The time of the one before
// is known to the hold-off, so that much is taken off the quiet time: better a report too many.
func (t *ttys) input(s *source, now time.Time) {
	t.w.mu.Lock()
	quiet := now.Sub(s.last) >= t.w.cfg.Quiet-t.w.holdOff()
	t.w.mu.Unlock()
	if quiet {
		s.touched(now, false)
		return
	}
	s.inputWas(now)
}

// lastRead is the access time of a terminal, which the kernel moves when input is read.
func lastRead(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return time.Time{}
	}
	return time.Unix(st.Atim.Unix())
}
