package starter

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// guard freezes the job when the lease is over or the agent silent. It wakes when one of them may
// have happened, not more often.
func (p *pid1) guard() {
	timer := time.NewTimer(0)
	for {
		select {
		case <-timer.C:
		case <-p.nudge:
		}
		p.mu.Lock()
		now := bootClock()
		var next time.Duration
		p.keepTo(func(k *keeping) {
			var end bool
			if next, end = k.due(now); end {
				os.Exit(0)
			}
		})
		if p.bySignals() {
			p.keepStill(now)
			next = min(next, p.still.next)
		}
		p.mu.Unlock()
		// Timers stand still while the machine sleeps, the boot clock does not: a timer that was short
		// of its end when the lid closed fires that much after it opens. A beat checks for itself.
		timer.Reset(next - now)
	}
}

// wake makes guard look again.
func (p *pid1) wake() {
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}

// keepTo has the rules decide something, and the job be as they say. Called with mu held.
func (p *pid1) keepTo(decide func(*keeping)) {
	was := p.keep.held
	p.keep.working = p.job != nil || p.busy
	decide(&p.keep)
	if p.keep.held && !was {
		p.notice()
	}
	p.apply()
}

// notice learns from the cgroup that the agent wants the job frozen: one that was killed right after it froze
// the job could not say so. Called with mu held.
func (p *pid1) notice() {
	if !p.busy && !p.frozen && p.hasCgroup() && cgroupFreezing() {
		p.keep.wish, p.frozen = true, true
	}
}

// heard notes a sign of life from the agent.
func (p *pid1) heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keepTo(func(k *keeping) { k.heard(bootClock()) })
}

// beat learns what the agent wants.
func (p *pid1) beat(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keepTo(func(k *keeping) { k.beat(bootClock(), frozen) })
}

func (p *pid1) grant(left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keepTo(func(k *keeping) { k.grant(bootClock(), left) })
	p.wake()
}

// freeze stops the job because the agent says so, and calls done when its last thread has stopped.
func (p *pid1) freeze(done func(error)) {
	p.mu.Lock()
	p.keep.wish = true
	if p.busy {
		p.settled = append(p.settled, func() { done(p.awaitFrozen()) })
		p.mu.Unlock()
		return
	}
	p.apply()
	p.mu.Unlock()
	done(p.awaitFrozen())
}

// thaw lets the job go on because the agent says so. Without a lease it does not go on.
func (p *pid1) thaw() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true // the agent may have frozen the cgroup without our knowledge
	p.keepTo(func(k *keeping) { err = k.thaw(bootClock()) })
	return err
}

// apply makes the job's state what it should be. Called with mu held.
func (p *pid1) apply() {
	want := p.keep.frozen() || p.choked && !p.hasCgroup()
	if p.busy || want == p.frozen {
		return
	}
	p.frozen = want
	if err := p.setFrozen(want); err != nil {
		fmt.Fprintln(os.Stderr, "freeze or thaw:", err)
	}
	if p.bySignals() {
		p.still = stillness{next: bootClock() + lookSoon}
		p.wake()
	}
}

// bySignals reports whether the job is frozen by signals, which it can undo. Called with mu held.
func (p *pid1) bySignals() bool { return p.frozen && p.job != nil && !p.busy && !p.hasCgroup() }

// keepStill stops what has gone on by itself, if it is time to look, and ends a job that does not leave off. Called with
// mu held.
func (p *pid1) keepStill(now time.Duration) {
	if now < p.still.next {
		return
	}
	moving, waiting := 0, threadsIn("RSD")
	if waiting > 0 {
		moving = threadsIn("RS")
	}
	again, end := p.still.look(now, moving, waiting)
	// So many threads may take a while to look at: a hundredth of the time, a tenth while they go on.
	rest := 100 * (bootClock() - now)
	if again {
		rest /= 10
	}
	p.still.next = max(p.still.next, now+rest)
	switch {
	case end:
		p.job.lost = "it went on while it had to stand still"
		_ = unix.Kill(-1, unix.SIGKILL) // whom we wait for says the rest
	case again:
		p.still.pending = true
		_ = p.setFrozen(true)
	}
}

func (p *pid1) hasCgroup() bool { return p.cfg.Cgroup != "" }

// setFrozen stops or continues every process of the job.
func (p *pid1) setFrozen(frozen bool) error {
	if p.hasCgroup() {
		return writeAt0(fdFreeze, boolDigit(frozen))
	}
	sig := unix.SIGCONT
	if frozen {
		sig = unix.SIGSTOP
	}
	// To everything but ourselves, and atomically: a process that is just forking has the signal
	// before its child exists.
	if err := unix.Kill(-1, sig); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

// awaitFrozen returns when the last thread of the job has stopped, at once if there is no job.
func (p *pid1) awaitFrozen() error {
	p.mu.Lock()
	none := p.job == nil
	p.mu.Unlock()
	if none {
		return nil
	}
	if p.hasCgroup() {
		return awaitCgroupFrozen(fdEvents, freezeLimit)
	}
	deadline := time.Now().Add(freezeLimit)
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		// One in an uninterruptible wait stops before it would run any instruction of its program.
		moving := threadsIn("RSIP")
		if moving == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d threads have not stopped after %v", moving, freezeLimit)
		}
		time.Sleep(pause)
	}
}

// threadsIn counts the threads in this pid namespace, ours excepted, whose state is one of states, as
// proc_pid_stat(5) spells them.
func threadsIn(states string) (n int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat") // the pattern is well formed
	for _, f := range stats {
		if strings.HasPrefix(f, "/proc/1/") {
			continue
		}
		if st, err := readStat(f); err == nil && strings.IndexByte(states, st.state) >= 0 {
			n++
		}
	}
	return n
}

// procStat is what we read of a process's or thread's stat file.
type procStat struct {
	state    byte
	ppid     int
	cpu, sys time.Duration // with those of the children it has waited for
	threads  int           // of its process; 0 if that is not told
}

func readStat(path string) (procStat, error) {
	b, err := readControl(path)
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}

// parseStat reads proc_pid_stat(5). The command name may hold anything, so it counts from its end.
func parseStat(b []byte) (procStat, error) {
	const tick = time.Second / 100 // USER_HZ, the same on all architectures we build for
	_, rest, ok := cutLast(b, ')')
	f := bytes.Fields(rest)
	if !ok || len(f) < 15 || len(f[0]) != 1 {
		return procStat{}, fmt.Errorf("cannot read process status %.40q", b)
	}
	num := func(i int) time.Duration {
		n, _ := strconv.ParseInt(string(f[i]), 10, 64)
		return time.Duration(n)
	}
	const numThreads = 17
	threads := 0
	if len(f) > numThreads {
		threads = int(num(numThreads))
	}
	return procStat{
		threads: threads,
		state:   f[0][0],
		ppid:    int(num(1)),
		cpu:     (num(11) + num(13)) * tick,
		sys:     (num(12) + num(14)) * tick,
	}, nil
}

func cutLast(b []byte, c byte) (before, after []byte, found bool) {
	if i := bytes.LastIndexByte(b, c); i >= 0 {
		return b[:i], b[i+1:], true
	}
	return b, nil, false
}

// bootClock runs on while the machine sleeps, as leases do.
func bootClock() time.Duration { return clock(unix.CLOCK_BOOTTIME) }

func clock(id int32) time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(id, &ts) // cannot fail for the clocks we ask
	return time.Duration(ts.Nano())
}
