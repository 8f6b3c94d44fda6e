package starter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// jobCgroup is the cgroup of a claim's job, with the files that matter held open: freezing is one
// write. The init stays outside.
type jobCgroup struct {
	path                  string
	procs, freeze, events *os.File

	legacy map[string]string // directories of cgroup v1 by controller, for what this one does not limit
	prompt bool              // its job gets the processor as others do
}

// readHierarchies reads where the hierarchies of cgroups are mounted, and where in them this process is.
func readHierarchies() (mounts, own []byte, err error) {
	if mounts, err = os.ReadFile("/proc/self/mounts"); err != nil {
		return nil, nil, err
	}
	own, err = os.ReadFile("/proc/self/cgroup")
	return mounts, own, err
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
	if !well && c.refused() {
		e.OverPids = true
	}
}

// blamed says whether memory or processes were short since the cgroup was made, which the kernel does not forget.
func (c *jobCgroup) blamed() bool {
	atLimit, killed := c.memory()
	return atLimit || killed || c.refused()
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

var errNotFrozen = errors.New("the job has not stopped")

// awaitCgroupFrozen returns when the cgroup whose cgroup.events is fd is frozen to the last thread, or with errNotFrozen
// when it is not in time.
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
			return fmt.Errorf("%w after %v", errNotFrozen, limit)
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
