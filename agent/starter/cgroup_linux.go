package starter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/pause"
)

// jobCgroup is the cgroup of a claim's job, with the files that matter held open: freezing is one
// write. The init stays outside.
type jobCgroup struct {
	path                  string
	procs, freeze, events *os.File

	legacy map[string]string // directories of cgroup v1 by controller, for what this one does not limit
	prompt bool              // its job gets the processor as others do
}

// cgroup2Mount finds the mount point of the cgroup v2 hierarchy in /proc/self/mounts.
func cgroup2Mount(mounts []byte) string {
	sc := bufio.NewScanner(bytes.NewReader(mounts))
	for sc.Scan() {
		if f := strings.Fields(sc.Text()); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	return ""
}

// cgroup2Path finds the v2 path in /proc/self/cgroup.
func cgroup2Path(own []byte) string {
	for line := range strings.Lines(string(own)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return p
		}
	}
	return ""
}

// makeCgroup makes the cgroup at path, owned by uid so that CRIU, as that user, can thaw it, and below the
// bases of cgroup v1 what that one cannot limit.
func makeCgroup(path string, bases map[string]string, uid int, spec ClaimSpec) (*jobCgroup, error) {
	if err := mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.freeze"} {
		if err := os.Chown(filepath.Join(path, name), uid, uid); err != nil && os.Getuid() == 0 {
			return nil, fmt.Errorf("give cgroup away: %w", err)
		}
	}
	c, err := openCgroup(path, nil)
	if err != nil {
		return nil, err
	}
	c.prompt = spec.Prompt
	if err := c.limit(bases, filepath.Base(path), spec); err != nil {
		c.close()
		_ = errors.Join(removeLegacy(c.legacy, 0), unix.Rmdir(path))
		return nil, err
	}
	return c, nil
}

// openCgroup takes hold of a cgroup that exists.
func openCgroup(path string, legacy map[string]string) (*jobCgroup, error) {
	c := &jobCgroup{path: path, legacy: legacy}
	for _, o := range []struct {
		f    **os.File
		name string
		mode int
	}{{&c.procs, "cgroup.procs", os.O_RDWR}, {&c.freeze, "cgroup.freeze", os.O_RDWR}, {&c.events, "cgroup.events", os.O_RDONLY}} {
		// The descriptors are used by system calls directly: no poller between.
		fd, err := unix.Open(filepath.Join(path, o.name), o.mode|unix.O_CLOEXEC, 0)
		if err != nil {
			c.close()
			return nil, &os.PathError{Op: "open", Path: filepath.Join(path, o.name), Err: err}
		}
		*o.f = os.NewFile(uintptr(fd), o.name)
	}
	return c, nil
}

func (c *jobCgroup) close() {
	if c == nil {
		return
	}
	for _, f := range []*os.File{c.procs, c.freeze, c.events} {
		if f != nil {
			f.Close()
		}
	}
}

// blame completes what the init says of a job's end with what only the kernel knows: that it ended the
// job for want of memory. If the want was the machine's, the job has done nothing wrong.
//
// The controller of cgroup v1 cannot end all processes of a job together, so there even a job that ends well
// has gone on without one of them.
func (c *jobCgroup) blame(e *Exit) {
	well := e.Signal == 0 && e.Code == 0
	if e.Err != "" || well && c.legacy["memory"] == "" {
		return
	}
	switch atLimit, killed := c.memory(); {
	case killed && atLimit:
		e.OverMemory = true
	case killed:
		e.Err = "the machine ran out of memory"
	}
	if p := c.processes(); p.Refused && !well {
		e.OverPids = true
	}
}

// blamed says whether memory or processes were short since the cgroup was made, which the kernel does not forget.
func (c *jobCgroup) blamed() bool {
	atLimit, killed := c.memory()
	return atLimit || killed || c.processes().Refused
}

// parseMemoryEvents reads memory.events: whether an allocation failed because of the cgroup's own
// limit, and whether one of its processes was killed, for that or because the whole machine was short.
func parseMemoryEvents(events []byte) (atLimit, killed bool) {
	for line := range strings.Lines(string(events)) {
		name, n, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case n == "" || n == "0":
		case name == "oom":
			atLimit = true
		case name == "oom_kill":
			killed = true
		}
	}
	return atLimit, killed
}

// removeCgroup kills what is in the cgroup at path and removes it.
func removeCgroup(path string, limit time.Duration) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	deadline := time.Now().Add(limit)
	for {
		err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the file came with Linux 5.14
			return fmt.Errorf("kill the job: %w", err)
		}
		_ = unix.Rmdir(filepath.Join(path, paceName)) // mostly it is not there
		if err = unix.Rmdir(path); err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return &os.PathError{Op: "rmdir", Path: path, Err: err}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// awaitFrozen returns when a cgroup that is being frozen is so to its last thread.
//
// A thread that waits for a processor must get one before it can stop, and a job's threads come last
// on a busy machine: with three busy loops against one job the wait was 30 to 850 ms, and up to six seconds with two
// against two hundred. So threads that are not stopped at once come first until they are, which takes each some
// microseconds in the kernel; none runs its program meanwhile. Without the privilege for that they stop as they can.
func (c *jobCgroup) awaitFrozen(limit time.Duration) error {
	const (
		atOnce = 300 * time.Microsecond
		again  = 20 * time.Millisecond // to bring threads that have come since to the front, and after another claim was calmed
	)
	events, deadline := int(c.events.Fd()), time.Now().Add(limit)
	err := awaitCgroupFrozen(events, atOnce)
	if err == nil {
		return nil
	}
	defer c.calm()
	for err != nil && time.Now().Before(deadline) {
		c.hurry()
		err = awaitCgroupFrozen(events, again)
	}
	return err
}

// hurry has all threads of the job come before others: with real-time priority, or, where the kernel gives none to
// cgroups, with the weight of all claims and of this one.
func (c *jobCgroup) hurry() {
	if c.schedule(&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}) {
		return
	}
	c.weigh(urgent, urgent)
	c.schedule(&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: -20})
}

// saveLikeOthers has the threads of the job, which is frozen, count as much as other programs' until stop is called.
// CRIU works in them, and takes turns with them hundreds of times: behind two busy loops an image of 500 MB, half
// a second's work, took two minutes otherwise, while its job's time to leave ran out.
func (c *jobCgroup) saveLikeOthers() (stop func()) {
	const again = 100 * time.Millisecond // since another claim may have been calmed
	if c == nil || c.prompt {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var kept sync.WaitGroup
	kept.Go(func() {
		for err := error(nil); err == nil; err = pause.For(ctx, again) {
			c.weigh(equal, equal)
			c.schedule(&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: jobNice})
		}
	})
	return func() {
		cancel()
		kept.Wait()
		c.calm()
	}
}

// calm gives all threads of the job the lowest claim to a processor again, also after an agent that
// was killed in the middle of a freeze.
//
// With the idle class a processor on which only jobs run counts as free, so that the owner's programs get one each:
// with ordinary threads of a job on all of them, however low, a compile on two processors was seen to have both its
// processes on one of them, and to take twice as long. An init may not set it, an agent that is root may.
func (c *jobCgroup) calm() {
	class := uint32(unix.SCHED_IDLE)
	if c.prompt {
		class = unix.SCHED_NORMAL
	}
	c.schedule(&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: class, Nice: jobNice})
	c.weigh(allClaims, c.usual())
}

// schedule sets how the threads of the job are scheduled. It reports whether that is allowed; if not they stay as they are.
func (c *jobCgroup) schedule(attr *unix.SchedAttr) bool {
	for _, part := range []string{"", paceName} {
		list, err := os.ReadFile(filepath.Join(c.path, part, "cgroup.threads"))
		if err != nil {
			continue
		}
		for line := range bytes.Lines(list) {
			if tid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil {
				if errors.Is(unix.SchedSetAttr(tid, attr, 0), unix.EPERM) {
					return false
				}
			}
		}
	}
	return true
}

// awaitCgroupFrozen returns when the cgroup whose cgroup.events is fd is frozen to the last thread.
func awaitCgroupFrozen(fd int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	buf := make([]byte, 256)
	// The kernel limits the rate of its notifications (10 ms), so looking is faster than waiting.
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		n, err := unix.Pread(fd, buf, 0)
		if err != nil {
			return os.NewSyscallError("read cgroup.events", err)
		}
		if bytes.Contains(buf[:n], []byte("frozen 1")) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the job has not stopped after %v", limit)
		}
		time.Sleep(pause)
	}
}

// cgroupFreezing reports, inside an init, whether somebody has asked for the cgroup to be frozen.
func cgroupFreezing() bool {
	var b [1]byte
	n, err := unix.Pread(fdFreeze, b[:], 0)
	return err == nil && n == 1 && b[0] == '1'
}

// writeAt0 writes a value to an open control file.
func writeAt0(fd int, value []byte) error {
	for {
		_, err := unix.Pwrite(fd, value, 0)
		if err == unix.EINTR {
			continue
		}
		return os.NewSyscallError("write", err)
	}
}

func boolDigit(b bool) []byte {
	if b {
		return []byte{'1'}
	}
	return []byte{'0'}
}
