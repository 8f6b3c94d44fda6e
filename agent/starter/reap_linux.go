package starter

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reap waits for ended processes. When the job's first process has ended, nothing else of the job
// may live on.
func (p *pid1) reap() {
	p.reaping.Lock()
	defer p.reaping.Unlock()
	for {
		pid, ws, used, err := wait(-1, unix.WNOHANG)
		if err != nil || pid <= 0 {
			return
		}
		p.mu.Lock()
		over := p.job != nil && pid == p.job.pid
		if p.job != nil {
			p.job.used = p.job.used.Plus(used)
		}
		p.mu.Unlock()
		if over {
			p.finish(ws)
		}
	}
}

// finish ends the job's life with the status of its first process. Called with reaping held.
func (p *pid1) finish(ws unix.WaitStatus) {
	rest := killAll()
	p.mu.Lock()
	j := p.job
	e := &Exit{Job: j.spec.Job, Usage: j.used.Plus(rest).Plus(p.pastTraffic().since(j.io))}
	e.Usage.Wall += bootClock() - j.started
	if e.Err = j.lost; ws.Signaled() {
		e.Signal = int(ws.Signal())
	} else {
		e.Code = ws.ExitStatus()
	}
	e.Strayed = j.moved && j.level != "" && (e.Signal == int(unix.SIGILL) || e.Code == shellSignal+int(unix.SIGILL))
	p.mu.Unlock()
	// In its file before anybody hears of it, and before the job counts as ended.
	if err := saveExit(fdState, savedExit{*e, p.boot}); err != nil {
		fmt.Fprintln(os.Stderr, "save exit status:", err)
	}
	p.mu.Lock()
	p.job, p.exit = nil, e
	p.mu.Unlock()
	p.say(&message{Op: opExit, Exit: e})
}

// shellSignal is what shells add to the number of the signal of which a program has died, for their own exit code.
const shellSignal = 128

// killAll ends everything else in this namespace and waits until it is gone.
func killAll() (used Usage) {
	_ = unix.Kill(-1, unix.SIGKILL)
	for {
		_, _, u, err := wait(-1, 0)
		if err != nil { // ECHILD: nobody left
			return used
		}
		used = used.Plus(u)
	}
}

// wait is wait4, without interruptions.
func wait(pid, flags int) (int, unix.WaitStatus, Usage, error) {
	for {
		var ws unix.WaitStatus
		var ru unix.Rusage
		got, err := unix.Wait4(pid, &ws, flags, &ru)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return got, ws, Usage{
			User:   time.Duration(ru.Utime.Nano()),
			System: time.Duration(ru.Stime.Nano()),
			MaxRSS: ru.Maxrss << 10,
		}, err
	}
}

// savedExit is the content of [exitFile].
type savedExit struct {
	Exit
	Boot string `json:"boot,omitempty"` // which run of the machine; "" from an init of an older agent
}

func (s savedExit) sameBoot() bool { return s.Boot == "" || s.Boot == bootID() }

// saveExit writes the file in the directory dir.
func saveExit(dir int, e savedExit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	const tmp = exitFile + ".tmp"
	if err := writeIn(dir, tmp, b); err != nil {
		return err
	}
	return os.NewSyscallError("rename", unix.Renameat(dir, tmp, dir, exitFile))
}

// bootID names the present run of the machine, "" if the kernel does not say.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// writeIn writes a file in the directory dir.
func writeIn(dir int, name string, b []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
