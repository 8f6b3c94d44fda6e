package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
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
	terminals := w.addSource(sourceTerminals, false)
	q, err := newInotify()
	if err != nil {
		terminals.failed(err)
		return
	}
	defer q.Close()
	defer context.AfterFunc(ctx, func() { q.Close() })()

	t := ttys{w: w, q: q, terminals: terminals, watches: make(map[int32]*source)}
	if err := t.start(); err != nil {
		terminals.failed(err)
		return
	}
	opened()
	for {
		events, err := q.read()
		if err != nil {
			if ctx.Err() == nil {
				terminals.failed(fmt.Errorf("read inotify: %w", err))
			}
			return
		}
		now := time.Now()
		for ev := range events {
			t.handle(ev, now)
		}
		// Somebody is typing, which was reported at once; more of it is looked at less often.
		select {
		case <-ctx.Done():
			return
		case <-time.After(w.holdOff()):
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
		vts := t.w.addSource(sourceVTs, true)
		vts.watched(t.addAll(consoles, vts))
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
	return last
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
