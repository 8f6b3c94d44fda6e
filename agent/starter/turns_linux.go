package starter

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A job has the processors when nobody else wants them: its threads are of the idle class, and all claims together have
// next to no weight. That must not keep them from stopping at once, nor from being saved, so for these moments they come
// to the front.

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
	if !errors.Is(err, errNotFrozen) {
		return err
	}
	defer c.calm()
	for errors.Is(err, errNotFrozen) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%w after %v", errNotFrozen, limit)
		}
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

// calm gives all threads of the job the lowest claim to a processor again, also after an agent that
// was killed in the middle of a freeze.
//
// With the idle class a processor on which only jobs run counts as free, so that the owner's programs get one each:
// with ordinary threads of a job on all of them, however low, a compile on two processors was seen to have both its
// processes on one of them, and to take twice as long. An init may not set it, an agent that is root may.
func (c *jobCgroup) calm() {
	c.comeLast()
	c.weigh(allClaims, c.usual())
}

// comeLast is what calm does with the threads that there are.
func (c *jobCgroup) comeLast() {
	class := uint32(unix.SCHED_IDLE)
	if c.prompt {
		class = unix.SCHED_NORMAL
	}
	c.schedule(&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: class, Nice: jobNice})
}

// schedule sets how the threads of the job are scheduled. It reports whether that is allowed; if not they stay as they are.
func (c *jobCgroup) schedule(attr *unix.SchedAttr) bool {
	for _, part := range []string{"", paceName} {
		list, err := readControl(filepath.Join(c.path, part, "cgroup.threads"))
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

// weight is what a cgroup has of the processors when others want them: cpu.weight of cgroup v2, where others have 100,
// or cpu.shares of v1, where they have 1024. A claim's own counts among the claims; towards the owner's programs, in
// other cgroups, it is that of all claims that counts.
type weight struct{ modern, legacy int64 }

var (
	// 2 %: with less a job that is to start or to be saved on a busy machine would wait too long for its turn.
	allClaims = weight{2, 20}
	oneClaim  = weight{1, 2}
	ordinary  = weight{100, 1024}
	equal     = weight{99, 1000}      // about as much as others; the numbers are our own
	urgent    = weight{10000, 262144} // the most there is
)

// set gives a cgroup the weight, if processors are shared out by weights there.
func (w weight) set(dir string, modern bool) {
	name, value := "cpu.shares", w.legacy
	if modern {
		name, value = "cpu.weight", w.modern
	}
	_ = writeControl(filepath.Join(dir, name), strconv.AppendInt(nil, value, 10))
}

// weighSlice sets what the slice of the unit for jobs has. It is systemd's, which does not look at what it once has set;
// so this is for the moment of a freeze or an image, and a weight that an administrator has chosen stays.
func weighSlice(dir string, to weight) {
	b, err := readControl(filepath.Join(dir, "cpu.weight"))
	if err != nil {
		return
	}
	ours := append(saving[:len(saving):len(saving)], oneClaim, urgent) // the second is what packaging/skua.slice says
	if slices.ContainsFunc(ours, func(w weight) bool { return string(bytes.TrimSpace(b)) == strconv.FormatInt(w.modern, 10) }) {
		to.set(dir, true)
	}
}

// weigh sets what all claims have of the processors, and this one among them.
func (c *jobCgroup) weigh(all, one weight) {
	dir, modern := c.path, c.has("cpu.weight")
	if !modern {
		if dir = c.legacy["cpu"]; dir == "" {
			return
		}
	}
	base := filepath.Dir(dir)
	all.set(base, modern)
	one.set(dir, modern)
	if unit := filepath.Dir(base); modern && strings.HasSuffix(unit, jobsCgroup) {
		slice := all
		if all == allClaims {
			slice = oneClaim
		}
		weighSlice(filepath.Dir(unit), slice)
	}
}

// usual is the claim's weight while nothing is urgent.
func (c *jobCgroup) usual() weight {
	if c.prompt {
		return ordinary
	}
	return oneClaim
}

// claimRealtime is what the threads of a claim may have of each processor in a second at real-time priority, which is
// only ever used to stop them: 200 need some ten milliseconds. Kernels that share that out, too, give none to a cgroup
// of v1 by themselves.
const claimRealtime = 50 * time.Millisecond

// grantRealtime lets a cgroup of v1 have so much at real-time priority, if the kernel asks for that and there is
// as much left. Claims that get nothing are stopped with the weights.
func grantRealtime(dir string, each time.Duration) {
	_ = writeControl(filepath.Join(dir, "cpu.rt_runtime_us"), strconv.AppendInt(nil, each.Microseconds(), 10))
}
