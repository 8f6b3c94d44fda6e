package starter

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/pause"
)

// An image is made when the owner has just sat down. CRIU works in the threads of the job, and takes turns with them
// hundreds of times: behind two busy loops an image of 500 MB, half a second's work, took two minutes when they came
// last, while its job's time to leave ran out. And if they count as much as the owner's programs, those lose half a
// processor. So they begin with little and get more the longer it takes.

// saving are the weights of all claims together while an image is made, for savingStep each. With the first it takes 2 or
// 3 % of a processor that somebody else wants, and half a gigabyte some thirty seconds then, most of which falls to the
// later ones. The numbers are our own, see weighSlice.
var saving = []weight{{3, 21}, {7, 51}, {13, 101}, {29, 201}, {53, 501}, equal}

const savingStep = 10 * time.Second

func savingWeight(since time.Duration) weight {
	return saving[min(int(since/savingStep), len(saving)-1)]
}

// savingSuffix is what the name of CRIU's cgroup has after the claim's.
const savingSuffix = ".save"

// saveGently has the threads of the job, which is frozen, and CRIU, which the claim's init is about to start, count for
// little and then for more, until stop is called.
func (c *jobCgroup) saveGently(init int) (stop func()) {
	const (
		soon  = 10 * time.Millisecond  // until CRIU is there
		again = 100 * time.Millisecond // since another claim may have been calmed
	)
	if c == nil || c.prompt {
		return func() {}
	}
	dir := c.makeSaving()
	ctx, cancel := context.WithCancel(context.Background())
	var kept sync.WaitGroup
	kept.Go(func() {
		began, step := time.Now(), soon
		for err := error(nil); err == nil; err = pause.For(ctx, step) {
			c.weigh(savingWeight(time.Since(began)), equal)
			c.schedule(&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: jobNice})
			if dir == "" || c.setAside(init, dir) || time.Since(began) > savingStep {
				step = again
			}
		}
	})
	return func() {
		cancel()
		kept.Wait()
		c.calm()
		_ = unix.Rmdir(dir) // not while CRIU goes on without an agent that waits for it: then at the claim's end
	}
}

// savingDir is where CRIU's cgroup is or would be, "" where processors are not shared out by weights.
func (c *jobCgroup) savingDir() string {
	switch {
	case c.has("cpu.weight"):
		return c.path + savingSuffix
	case c.legacy["cpu"] != "":
		return c.legacy["cpu"] + savingSuffix
	}
	return ""
}

// makeSaving makes CRIU's cgroup, beside that of the job, which is frozen.
func (c *jobCgroup) makeSaving() (dir string) {
	if dir = c.savingDir(); dir == "" {
		return ""
	}
	if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
		return "" // it is saved all the same
	}
	return dir
}

// setAside moves CRIU to the cgroup dir, and reports whether it is there: all children of the init are in the job's cgroup
// but CRIU, which has the agent's with the init.
func (c *jobCgroup) setAside(init int, dir string) bool {
	job := make(map[string]bool)
	for _, part := range []string{"", paceName} {
		list, _ := os.ReadFile(filepath.Join(c.path, part, "cgroup.procs"))
		for pid := range bytes.FieldsSeq(list) {
			job[string(pid)] = true
		}
	}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", init))
	found := false
	for _, thread := range threads {
		children, _ := os.ReadFile(thread)
		for pid := range strings.FieldsSeq(string(children)) {
			if !job[pid] && os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0) == nil {
				found = true
			}
		}
	}
	return found
}
