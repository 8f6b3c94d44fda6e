package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/pause"
)

const (
	sourceDevices = "devices" // the machine's own keyboards and pointers

	devicesMost = 256 // watched at once
)

// watchDevices reports input of the machine's own keyboards and pointers until ctx ends, where it may open
// them.
//
// Nothing is ever read from them. The kernel says that there is something to read, and says so again
// with the next; what it would be is dropped when its buffer is full.
func (w *Watcher) watchDevices(ctx context.Context) {
	opened := sync.OnceFunc(w.opened)
	defer opened()
	dir := filepath.Join(w.cfg.Dev, "input")
	for ctx.Err() == nil {
		d := devices{w: w, dir: dir, open: make(map[int32]string)}
		err := d.watch(ctx, opened)
		d.close()
		opened()
		switch {
		case errors.Is(err, os.ErrNotExist):
			w.log.Debug("input devices not watched", "error", err)
			if err := awaitEntry(ctx, w.cfg.Dev, "input"); err != nil {
				return
			}
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOSPC):
			w.log.Warn("input devices not watched", "error", err) // the kernel has no room for a watch
			if pause.For(ctx, peopleAgain) != nil {
				return
			}
		default:
			w.log.Debug("input devices not watched", "error", err)
			return // nothing that another attempt would mend
		}
	}
}

// awaitEntry waits until a directory has an entry of that name.
func awaitEntry(ctx context.Context, dir, name string) error {
	q, err := newInotify()
	if err != nil {
		return err
	}
	defer q.Close()
	defer context.AfterFunc(ctx, func() { q.Close() })()
	if _, err := q.add(dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil
		}
		if _, err := q.read(); err != nil {
			return err
		}
	}
}

// devices is the state of watchDevices; one goroutine owns it, but for what the inotify queue is read by.
type devices struct {
	w     *Watcher
	dir   string
	src   *source // nil until there is a device
	epoll *os.File
	open  map[int32]string // paths of open devices by descriptor, which the runtime knows nothing of
	last  time.Time        // newest input
}

// watch watches the devices that are there and those that come, until ctx ends or there is no directory
// of devices any more.
func (d *devices) watch(ctx context.Context, opened func()) error {
	q, err := newInotify()
	if err != nil {
		return err
	}
	defer q.Close()
	// Which devices may be opened is often set just after they have been made.
	if _, err := q.add(d.dir, unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		return err
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	// An epoll can be waited for like what it waits for, in the runtime's own.
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	d.epoll = os.NewFile(uintptr(fd), "epoll")
	queue, err := q.f.SyscallConn()
	if err != nil {
		return err
	}
	var addErr error
	if err := queue.Control(func(fd uintptr) { addErr = d.register(int32(fd), unix.EPOLLIN) }); err != nil || addErr != nil {
		return errors.Join(err, addErr)
	}
	d.openAll()
	opened()
	stop := context.AfterFunc(ctx, func() { d.epoll.Close() })
	defer stop()
	raw, err := d.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var events [32]unix.EpollEvent
	for {
		var n int
		var waitErr error
		err := raw.Read(func(fd uintptr) bool {
			n, waitErr = unix.EpollWait(int(fd), events[:], 0)
			return n != 0 && waitErr != unix.EINTR
		})
		if err != nil || waitErr != nil {
			return errors.Join(err, waitErr)
		}
		touched := false
		for _, ev := range events[:n] {
			_, device := d.open[ev.Fd]
			switch {
			case !device:
				arrivals, err := q.read()
				if err != nil {
					return err
				}
				for a := range arrivals {
					if a.mask&unix.IN_IGNORED != 0 {
						return fmt.Errorf("%s: %w", d.dir, os.ErrNotExist)
					}
				}
				d.openAll()
			case ev.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0:
				delete(d.open, ev.Fd) // unplugged
				unix.Close(int(ev.Fd))
			default:
				touched = true
			}
		}
		if touched {
			d.input(time.Now())
		}
		// It was reported at once; more of it is looked at less often.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d.w.holdOff()):
		}
	}
}

func (d *devices) register(fd int32, events uint32) error {
	raw, err := d.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var addErr error
	err = raw.Control(func(epoll uintptr) {
		addErr = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: events, Fd: fd})
	})
	return errors.Join(err, addErr)
}

// openAll opens the keyboards and pointers that are not open yet.
func (d *devices) openAll() {
	open := slices.Collect(maps.Values(d.open))
	paths, _ := filepath.Glob(filepath.Join(d.dir, "event[0-9]*")) // the pattern is well formed
	for _, path := range paths {
		if slices.Contains(open, path) || len(d.open) >= devicesMost || !isInputDevice(d.w.cfg.Sys, filepath.Base(path)) {
			continue
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err != nil {
			d.w.log.Debug("input device not watched", "device", path, "error", err)
			continue
		}
		// Told once for each event, whether it is read or not.
		if err := d.register(int32(fd), unix.EPOLLIN|unix.EPOLLET); err != nil {
			unix.Close(fd)
			d.w.log.Debug("input device not watched", "device", path, "error", err)
			continue
		}
		d.open[int32(fd)] = path
	}
	if d.src == nil && len(d.open) > 0 {
		d.src = d.w.addSource(sourceDevices, true)
		d.src.watched(time.Time{})
	}
}

// input notes input at now, and reports it after a quiet time, from which the hold-off is taken as for terminals.
func (d *devices) input(now time.Time) {
	quiet := now.Sub(d.last) >= d.w.cfg.Quiet-d.w.holdOff()
	d.last = now
	if quiet {
		d.src.touched(now, false)
	} else {
		d.src.inputWas(now)
	}
}

func (d *devices) close() {
	for fd := range d.open {
		unix.Close(int(fd))
	}
	if d.epoll != nil {
		d.epoll.Close()
	}
	if d.src != nil {
		d.src.remove()
	}
}

// isInputDevice reports whether a device is a keyboard, mouse, touch pad or screen, or tablet, as the kernel
// tells under sys. Gamepads are none, as some are never still; nor are sensors, lids and jacks.
func isInputDevice(sys, event string) bool {
	b, err := os.ReadFile(filepath.Join(sys, "class", "input", event, "device", "capabilities", "key"))
	return err == nil && hasInputKey(string(b))
}

// Numbers of keys, of which a device of each sort has one.
const (
	keyEnter, keyPadEnter, keySpace = 28, 96, 57
	buttonLeft, buttonTouch, tool   = 0x110, 0x14a, 0x140 // mouse; touch; pen
	buttonGamepad                   = 0x130
)

// hasInputKey reads the kernel's set of keys: words in hexadecimal, the highest first.
func hasInputKey(set string) bool {
	words := strings.Fields(set)
	has := func(key int) bool {
		i := len(words) - 1 - key/bits.UintSize
		if i < 0 {
			return false
		}
		word, err := strconv.ParseUint(words[i], 16, bits.UintSize)
		return err == nil && word>>(key%bits.UintSize)&1 != 0
	}
	if has(buttonGamepad) {
		return false
	}
	return has(keyEnter) || has(keyPadEnter) || has(keySpace) || has(buttonLeft) || has(buttonTouch) || has(tool)
}
