package starter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"skua/internal/pause"
)

// The memory of a job that stands still looks to the kernel as what it was just before: lately used, and newer than what the
// machine's owner has not touched since the job began. When memory gets short, the owner's goes to the swap first: 202 MB
// of 202 that were wanted on a machine of 900 MB, and nothing of the job's 300. So the kernel is told.

// Cool tells the kernel that nobody uses the memory of the job, which is frozen. Nothing is moved or written by that: when
// somebody wants memory, it is the first to go to the swap. It stops when the job is to go on, or ctx ends, and uses an eighth
// of a processor.
func (i *Init) Cool(ctx context.Context) error {
	w := i.cooling()
	err := w.each(ctx, func(p process) error {
		// Both are needed. The advice takes pages off the list of those in use, where images of the job have put them, and
		// takes privileges. It passes over pages that several processes have since a fork; these lose the marks of having
		// been used, which is as good as long as they are not on that list.
		if err := w.coldAdvice(ctx, p); err != nil && !refused(err) {
			return err
		}
		return p.forgetUse()
	})
	if err != nil {
		return fmt.Errorf("cool claim %s: %w", i.claim, err)
	}
	return nil
}

var errThawed = errors.New("the job goes on")

// refused reports whether a kernel or its rules do not let us have what was asked for.
func refused(err error) bool { return errors.Is(err, os.ErrPermission) || errors.Is(err, unix.ENOSYS) }

// cooling is one pass over the memory of a job.
type cooling struct {
	i     *Init
	since time.Time // when it last paused
}

func (i *Init) cooling() *cooling { return &cooling{i: i, since: time.Now()} }

// each calls do for the processes of the job. Those that are gone, and what is not allowed, are passed over.
func (w *cooling) each(ctx context.Context, do func(process) error) error {
	if !w.i.Frozen() {
		return nil
	}
	w.i.mu.Lock()
	busy := w.i.dumping
	init, err := pidOf(w.i.pidfd)
	w.i.mu.Unlock()
	if busy {
		return ErrBusy
	}
	if err != nil {
		return ErrGone
	}
	claim, err := pidNamespace(init)
	if err != nil {
		return err
	}
	if w.i.cg != nil {
		if err := w.i.cg.allowSwap(true); err != nil {
			return err
		}
		if !w.i.Frozen() { // Thaw may have forbidden it in between
			return w.i.cg.allowSwap(false)
		}
	}
	for _, pid := range pids() {
		if pid == init {
			continue
		}
		err := w.visit(ctx, pid, claim, do)
		switch {
		case errors.Is(err, errThawed):
			return nil
		case errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) || refused(err):
		case err != nil:
			return err
		}
	}
	return nil
}

// visit calls do for the process with the number pid, if it is one of the claim's.
func (w *cooling) visit(ctx context.Context, pid int, claim string, do func(process) error) error {
	if in, err := pidNamespace(pid); err != nil || in != claim {
		return nil // another's, and perhaps none of our business
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	// The number may have become another process's before it was opened. It cannot since, without the calls failing.
	if in, err := pidNamespace(pid); err != nil || in != claim {
		return nil
	}
	if err := do(process{pid, fd}); err != nil {
		return err
	}
	return w.breathe(ctx)
}

// breathe pauses after some work, so that all of it together is hardly noticed, and says when it is to stop.
func (w *cooling) breathe(ctx context.Context) error {
	const (
		stint = 2 * time.Millisecond
		rest  = 7 // times as long as the work
	)
	if worked := time.Since(w.since); worked >= stint {
		if err := pause.For(ctx, rest*worked); err != nil {
			return err
		}
		w.since = time.Now()
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if !w.i.Frozen() {
		return errThawed
	}
	return nil
}

// coldAdvice tells the kernel that all memory which the process has for itself is cold.
func (w *cooling) coldAdvice(ctx context.Context, p process) error {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", p.pid))
	if err != nil {
		return err
	}
	defer maps.Close()
	b := batch{}
	give := func() error {
		if err := b.give(p.pidfd); err != nil {
			return err
		}
		return w.breathe(ctx)
	}
	const longest = 4 << 10 // of a line; the name of a file may be cut off
	for lines := bufio.NewReaderSize(maps, longest); ; {
		line, tooLong, err := lines.ReadLine()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		m, ok := parseMapping(string(line))
		for tooLong && err == nil {
			_, tooLong, err = lines.ReadLine()
		}
		if !ok || !m.own() {
			continue
		}
		for m.from < m.to {
			if m.from = b.add(m.from, m.to); b.full() {
				if err := give(); err != nil {
					return err
				}
			}
		}
	}
	if len(b.ranges) == 0 {
		return nil
	}
	return give()
}

// batch is what is asked of the kernel in one call. Both bounds keep that short.
type batch struct {
	ranges []unix.RemoteIovec
	bytes  uintptr
}

const (
	batchRanges = 256
	batchBytes  = 64 << 20
)

// add takes as much of a range of addresses as there is room for, and says where the rest of it begins.
func (b *batch) add(from, to uintptr) uintptr {
	n := min(to-from, batchBytes-b.bytes)
	b.ranges = append(b.ranges, unix.RemoteIovec{Base: from, Len: int(n)})
	b.bytes += n
	return from + n
}

func (b *batch) full() bool { return b.bytes >= batchBytes || len(b.ranges) >= batchRanges }

// give gives the advice and empties the batch. Ranges that the kernel refuses, as those that are locked, are passed over.
func (b *batch) give(pidfd int) error {
	for left := b.ranges; len(left) > 0; left = left[1:] {
		n, err := processMadvise(pidfd, left, unix.MADV_COLD)
		if err == unix.EPERM || err == unix.ESRCH || err == unix.ENOSYS {
			return os.NewSyscallError("process_madvise", err)
		}
		for len(left) > 1 && n >= left[0].Len {
			n -= left[0].Len
			left = left[1:]
		} // what is first now is the last, or was refused
	}
	*b = batch{ranges: b.ranges[:0]}
	return nil
}

func processMadvise(pidfd int, ranges []unix.RemoteIovec, advice int) (advised int, err error) {
	n, _, errno := unix.Syscall6(unix.SYS_PROCESS_MADVISE, uintptr(pidfd), uintptr(unsafe.Pointer(&ranges[0])), uintptr(len(ranges)), uintptr(advice), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// process is one of the job's.
type process struct{ pid, pidfd int }

// forgetUse has the kernel forget which pages the process has used. Others' use of the same pages is not forgotten.
func (p process) forgetUse() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("1"), 0)
}

// pidNamespace names the pid namespace of a process.
func pidNamespace(pid int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) }

// area is a line of proc_pid_maps(5).
type area struct {
	from, to uintptr
	perms    string // "rw-p"
	inode    string
	name     string
}

// own reports whether what is there is the program's own memory, and no part of a file that others may use as well.
func (a area) own() bool {
	switch {
	case strings.HasPrefix(a.perms, "---"), strings.HasPrefix(a.name, "[v"): // nothing is there; vdso and its kin
		return false
	case a.inode == "0":
		return true
	case strings.HasSuffix(a.perms, "p"):
		return strings.Contains(a.perms, "w") // copies of what was written to
	}
	// Memory that processes share, which the kernel keeps as a file.
	return slices.ContainsFunc([]string{"/dev/zero (deleted)", "/memfd:", "/SYSV"}, func(begin string) bool {
		return strings.HasPrefix(a.name, begin)
	})
}

// parseMapping reads a line of proc_pid_maps(5). It is false for one that makes no sense.
//
//	7f1be8000000-7f1be8021000 rw-p 00000000 00:00 0          [heap]
func parseMapping(line string) (a area, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 || len(f[1]) != len("rw-p") {
		return a, false
	}
	first, last, _ := strings.Cut(f[0], "-")
	from, errFrom := strconv.ParseUint(first, 16, strconv.IntSize)
	to, errTo := strconv.ParseUint(last, 16, strconv.IntSize)
	if errFrom != nil || errTo != nil || from >= to || to-from > math.MaxInt64 {
		return a, false
	}
	a = area{from: uintptr(from), to: uintptr(to), perms: f[1], inode: f[4]}
	if len(f) > 5 {
		a.name = strings.Join(f[5:], " ")
	}
	return a, true
}
