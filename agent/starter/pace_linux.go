package starter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where no controller can keep a job to a share of the processors, its init does: it lets the job run until
// it has had more than its share, and has it stand still until that is made up for. In a cgroup that is done
// one level below the one that the agent freezes, so that neither can undo what the other wants.

// paceEvery is how often it is looked at, while a job is throttled and no longer.
const paceEvery = 20 * time.Millisecond

// pacer is what a job has had of its share.
type pacer struct {
	cpus   float64       // processors that it may have on average
	credit time.Duration // of their time that is left to it; below zero it has had too much
	at     time.Duration // on the boot clock: when that was counted
	used   time.Duration // by then, of the processors
}

// step counts what the job has used by now and says whether it is to stand still.
func (c *pacer) step(at, used time.Duration) (still bool) {
	const longest = 30 * time.Second // to stand still, whatever was counted
	per := func(d time.Duration) time.Duration { return time.Duration(c.cpus * float64(d)) }
	c.credit += per(at-c.at) - max(0, used-c.used)
	c.credit = max(min(c.credit, per(2*paceEvery)), -per(longest))
	c.at, c.used = at, max(used, c.used)
	return c.credit < 0
}

// skip lets time pass in which the job stands still anyway.
func (c *pacer) skip(at time.Duration) { c.at = at }

// throttle keeps the job to so many processors from now on; with 0 it may have all.
func (p *pid1) throttle(cpus float64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cpus <= 0 {
		p.pace = nil
		if p.busy {
			return nil // what looks after it, or the next job, finds out
		}
		return p.choke(false)
	}
	if p.pace == nil {
		p.pace = &pacer{}
	}
	p.pace.cpus = cpus
	if p.busy {
		return nil // it begins when the first thread has done
	}
	if _, err := p.processorTime(); err != nil {
		return err
	}
	p.keepPace()
	return nil
}

// keepPace counts from now on, for a job that begins or another share, and starts the goroutine that looks
// after it, unless there is one or no need. Called with mu held.
func (p *pid1) keepPace() {
	if p.pace == nil || p.job == nil {
		return
	}
	p.pace.at, p.pace.credit = bootClock(), 0
	p.pace.used, _ = p.processorTime() // if it cannot be read now, the look says so
	if p.pacing {
		return
	}
	p.pacing = true
	go func() {
		t := time.NewTicker(paceEvery)
		defer t.Stop()
		for p.stepPace() {
			<-t.C
		}
	}()
}

// stepPace looks once, and says whether to go on.
func (p *pid1) stepPace() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	switch {
	case p.busy: // the first thread has the job
	case p.pace == nil || p.job == nil:
		err = p.choke(false)
		p.pacing = false
	case p.keep.frozen():
		p.pace.skip(bootClock())
	default:
		var used time.Duration
		if used, err = p.processorTime(); err == nil {
			err = p.choke(p.pace.step(bootClock(), used))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "throttle:", err)
	}
	return p.pacing
}

// choke has the job stand still for its share's sake, or no longer. Called with mu held.
func (p *pid1) choke(still bool) error {
	if !p.hasCgroup() {
		p.choked = still
		p.apply()
		return nil
	}
	if still {
		if err := p.enterPace(); err != nil {
			return err
		}
	}
	if still == p.choked {
		return nil
	}
	if err := p.writeCgroup(paceName+"/cgroup.freeze", boolDigit(still)); err != nil {
		return err
	}
	p.choked = still
	return nil
}

// processorTime is what the job has used of the processors. Called with mu held.
func (p *pid1) processorTime() (time.Duration, error) {
	if p.hasCgroup() {
		b, err := p.readCgroup("cpu.stat")
		if err != nil {
			return 0, err
		}
		return parseCPUStat(b)
	}
	if p.job == nil {
		return 0, nil
	}
	used := p.job.used.Plus(surveyJob().used)
	return used.User + used.System, nil
}

// parseCPUStat reads cpu.stat of a cgroup.
func parseCPUStat(text []byte) (time.Duration, error) {
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "usage_usec "); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, errors.New("cpu.stat has no usage_usec")
}

// paceName is the cgroup below the claim's in which a job is paced.
const paceName = "pace"

// enterPace moves what is in the claim's cgroup itself into the one that is frozen for the share's sake. What
// it forks there stays there. Called with mu held.
func (p *pid1) enterPace() error {
	if err := unix.Mkdirat(p.cgTree, paceName, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	return p.moveProcesses("cgroup.procs", paceName+"/cgroup.procs")
}

// leavePace takes everything out again, for CRIU and for good. Called with mu held.
func (p *pid1) leavePace() error {
	if !p.hasCgroup() {
		return nil
	}
	if err := p.choke(false); err != nil {
		return err
	}
	if err := p.moveProcesses(paceName+"/cgroup.procs", "cgroup.procs"); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	_ = unix.Unlinkat(p.cgTree, paceName, unix.AT_REMOVEDIR) // an empty one does no harm
	return nil
}

// moveProcesses moves all processes from one cgroup to another, those that are forked meanwhile included.
func (p *pid1) moveProcesses(from, to string) error {
	const most = 1000 // a job that forks faster than it is moved is caught with the next look
	for range most {
		list, err := p.readCgroup(from)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(list)) == 0 {
			return nil
		}
		for pid := range bytes.FieldsSeq(list) {
			if err := p.writeCgroup(to, pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// readCgroup reads a file of the claim's cgroup.
func (p *pid1) readCgroup(name string) ([]byte, error) {
	fd, err := unix.Openat(p.cgTree, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(f)
}

// writeCgroup writes one.
func (p *pid1) writeCgroup(name string, value []byte) error {
	fd, err := unix.Openat(p.cgTree, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, value); err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}
