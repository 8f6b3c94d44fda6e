package starter

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A claim whose job has ended can run another job of the same user in the same init, if nothing of the one
// before is left in it. What can be made as new is: processes, files, shared memory and queues. What cannot
// is looked for, and if there is any the claim is not used again.

// spoilt says what of the last job cannot be removed from the claim, as far as the agent can see it.
func (h *handle) spoilt() error {
	if h.cg != nil && h.cg.blamed() {
		return fmt.Errorf("%w: its count of memory shortages", ErrUsed)
	}
	return nil
}

// emptyOut empties the directories of a claim that a job may have used, and gives them the owners and modes
// that they had.
func (i *Init) emptyOut() error {
	uid, scratch := i.initUID(), i.Scratch()
	jobUID := uid
	if i.s.mapped {
		jobUID += jobID
	}
	for _, d := range []struct {
		path string
		mode os.FileMode
		uid  int
		keep []string
	}{
		{i.ImageDir(), imageMode, uid, nil},
		{filepath.Join(scratch, TmpName), tmpMode, jobUID, nil},
		{filepath.Join(scratch, ShmName), shmMode, jobUID, nil},
		{scratch, scratchMode, jobUID, []string{TmpName, ShmName}},
	} {
		if err := renewDir(d.path, d.mode, d.uid, d.keep); err != nil {
			return err
		}
	}
	return nil
}

// renewDir removes what is in a directory, except for the names to keep, and gives it its mode again.
func renewDir(dir string, mode os.FileMode, uid int, keep []string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || !fi.IsDir() || int(st.Uid) != uid {
		return fmt.Errorf("%w: %s is not the directory it was", ErrUsed, filepath.Base(dir))
	}
	if fi.Mode()&(os.ModePerm|os.ModeSticky|os.ModeSetgid|os.ModeSetuid) != mode {
		if err := os.Chmod(dir, mode); err != nil { // before its entries are read
			return err
		}
	}
	for more := true; more; {
		names, err := someNames(dir)
		if err != nil {
			return err
		}
		more = false
		for _, name := range names {
			if slices.Contains(keep, name) {
				continue
			}
			more = true
			if err := removeTree(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	own, err := ownAttributes(dir)
	if err == nil && own {
		err = fmt.Errorf("%w: attributes of its directory %s", ErrUsed, filepath.Base(dir))
	}
	return err
}

// someNames gives names of what is in a directory, more than are kept of one: a job can have made millions.
func someNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(1000)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// ownAttributes says whether somebody has given the directory attributes, such as an access control list that
// what is made in it would inherit.
func ownAttributes(dir string) (bool, error) {
	buf := make([]byte, 1024)
	n, err := unix.Llistxattr(dir, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("llistxattr", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if name != "" && !strings.HasPrefix(name, "security.") { // labels are the machine's
			return true, nil
		}
	}
	return false, nil
}

// fresh makes the init's namespaces as new ones. It runs on the first thread, with no job.
func (p *pid1) fresh() error {
	p.mu.Lock()
	busy, restored := p.job != nil, p.restored
	p.mu.Unlock()
	switch {
	case busy:
		return ErrBusy
	case restored:
		return fmt.Errorf("%w: its clocks", ErrUsed)
	}
	p.reaping.Lock()
	killAll() // nobody is left since the end of the job, and this makes sure
	p.reaping.Unlock()
	if err := newIPC(); err != nil {
		return err
	}
	if p.cfg.Network != NetHost {
		left, err := socketsLeft()
		if err == nil && left {
			err = fmt.Errorf("%w: connections that are not over", ErrUsed)
		}
		if err != nil {
			return err
		}
	}
	if keysOf(p.jobUID()) != p.keys {
		return fmt.Errorf("%w: keys in the kernel's keyrings", ErrUsed)
	}
	return nil
}

// newIPC gives what this thread starts shared memory, semaphores and message queues of its own. Those of the
// jobs before go with the last process that has them.
func newIPC() error { return os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWIPC)) }

func (p *pid1) jobUID() int {
	if p.cfg.Mapped {
		return jobID
	}
	return 0
}

// socketsLeft says whether the network namespace has internet sockets, those included that wait for the end
// of a connection which nobody holds any more.
func socketsLeft() (bool, error) {
	for _, name := range []string{"/proc/self/net/sockstat", "/proc/self/net/sockstat6"} {
		text, err := readControl(name)
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "6") {
			continue
		}
		if err != nil {
			return false, err
		}
		if parseSockstat(string(text)) {
			return true, nil
		}
	}
	return false, nil
}

// parseSockstat reads /proc/net/sockstat: whether there are sockets of the internet protocols.
func parseSockstat(text string) bool {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "sockets:" { // those of other families count as well
			continue
		}
		for i := 1; i+1 < len(f); i += 2 {
			if (f[i] == "inuse" || f[i] == "tw") && f[i+1] != "0" {
				return true
			}
		}
	}
	return false
}

// keysOf is what the kernel says of the keys of a user id, as the reader's namespace numbers it; empty for
// one that has none.
func keysOf(uid int) string {
	text, err := readControl("/proc/key-users")
	if err != nil {
		return "" // a kernel without keyrings
	}
	return parseKeyUsers(string(text), uid)
}

// parseKeyUsers reads /proc/key-users.
func parseKeyUsers(text string, uid int) string {
	for line := range strings.Lines(text) {
		id, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && id == fmt.Sprint(uid) {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	return ""
}
