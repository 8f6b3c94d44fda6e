package startd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"time"

	"skua/agent/starter"
	"skua/internal/job"
)

// limits are what a job may take of its slot. Zero means no limit.
type limits struct {
	Memory int64 `json:"memory,omitempty"` // bytes
	Disk   int64 `json:"disk,omitempty"`   // bytes of the scratch directory
}

// limits are what the slot advertises: no job gets more of the machine than its owner grants.
func (k *keeper) limits() limits {
	ad := k.d.policy().SlotAd(k.d.facts.Load(), k.d.cfg.Slots)
	bytes := func(attr string, unit int64) int64 {
		n, ok := ad.Int(attr)
		if !ok || n <= 0 || n > math.MaxInt64/unit {
			return 0
		}
		return n * unit
	}
	return limits{Memory: bytes("Memory", 1<<20), Disk: bytes("Disk", 1<<10)}
}

// loadEach is how often the kernel counts the threads that make its load average, and so how often we
// count those of jobs.
const loadEach = 5 * time.Second

// lookEach is how often a job is looked at. Where the kernel keeps it to its memory there are only the
// disk and its part of the load to look at.
func (t *tenant) lookEach(in Init) time.Duration {
	if in.LimitsMemory() || t.limits.Memory == 0 {
		return min(t.k.d.cfg.MeasureEach, loadEach)
	}
	return min(t.k.d.cfg.MeasureEach, t.k.d.cfg.LookEach)
}

// look measures a job that runs, and has it end if it takes more than it may.
func (t *tenant) look(ctx context.Context, in Init) {
	t.mu.Lock()
	still, disk := t.frozen, time.Since(t.walked) >= max(t.k.d.cfg.MeasureEach, 100*t.walkTook)
	t.mu.Unlock()
	if still {
		return // it takes nothing more, and the machine is its owner's now
	}
	t.usage(ctx)
	if disk && t.walking.CompareAndSwap(false, true) {
		t.k.wg.Go(func() {
			defer t.walking.Store(false)
			t.measureDisk(in)
		})
	}
}

// usage is what the job has used so far, in this claim.
func (t *tenant) usage(ctx context.Context) job.Usage {
	if t == nil {
		return job.Usage{}
	}
	if in := t.running.Load(); in != nil {
		const most = time.Second
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		limit := t.limits.Memory
		if limit == 0 {
			limit = math.MaxInt64
		}
		// A job that has just ended, or an init of an older agent, has nothing to tell.
		if r, err := (*in).Look(ctx, limit); err == nil {
			t.peak(r, 0)
			if r.Runnable != nil {
				t.k.d.load.sampled(t.k.num, *r.Runnable)
			}
			if r.Memory > limit && !(*in).LimitsMemory() {
				t.exceeded(t.overMemory(r.Memory))
			}
			return t.sinceStart(r.Used)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

// peak notes what was measured.
func (t *tenant) peak(r starter.Reading, disk int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used.MaxRSS = max(t.used.MaxRSS, r.Memory, r.Used.MaxRSS)
	t.used.MaxDisk = max(t.used.MaxDisk, disk)
}

// sinceStart is what fell to this claim of what an init says: that counts from the job's very beginning,
// images included, and anew when the job is started again.
func (t *tenant) sinceStart(u starter.Usage) job.Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used.UserCPU = max(t.used.UserCPU, t.earlier.UserCPU+u.User-t.brought.UserCPU)
	t.used.SysCPU = max(t.used.SysCPU, t.earlier.SysCPU+u.System-t.brought.SysCPU)
	t.used.Wall = max(t.used.Wall, t.earlier.Wall+u.Wall-t.brought.Wall)
	t.used.MaxRSS = max(t.used.MaxRSS, u.MaxRSS)
	return t.used
}

// ranOnce notes what the job has used that is about to be started again in this claim.
func (t *tenant) ranOnce(u starter.Usage) {
	used := t.sinceStart(u)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.earlier, t.brought = used, job.Usage{}
}

func jobUsage(u starter.Usage) job.Usage {
	return job.Usage{UserCPU: u.User, SysCPU: u.System, Wall: u.Wall, MaxRSS: u.MaxRSS}
}

// moved counts bytes that came for the job or left from it.
func (t *tenant) moved(fetched, sent int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used.Fetched += fetched
	t.used.Sent += sent
}

func (t *tenant) traffic() job.Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

// exceeded has the job held.
func (t *tenant) exceeded(err *holdError) {
	select {
	case t.over <- err:
	default: // for something else, already
	}
}

func (t *tenant) overMemory(used int64) *holdError {
	return &holdError{code: job.HoldOutOfResources, reason: fmt.Sprintf(
		"the job used %s of memory, and %s allows %s; request_memory asks for a slot with more",
		size(used), t.k.name, size(t.limits.Memory))}
}

// measureDisk measures the scratch directory.
func (t *tenant) measureDisk(in Init) {
	begun := time.Now()
	disk := treeSize(in.Scratch())
	t.peak(starter.Reading{}, disk)
	t.mu.Lock()
	t.walked, t.walkTook = time.Now(), time.Since(begun)
	t.mu.Unlock()
	if t.limits.Disk > 0 && disk > t.limits.Disk {
		t.exceeded(&holdError{code: job.HoldOutOfResources, reason: fmt.Sprintf(
			"the job used %s of disk for its files, and %s allows %s; request_disk asks for a slot with more",
			size(disk), t.k.name, size(t.limits.Disk))})
	}
}

// measureAtEnd measures what a job leaves, unless that is known to take long: then what was measured
// while it ran has to do.
func (t *tenant) measureAtEnd(in Init) {
	t.mu.Lock()
	took := t.walkTook
	t.mu.Unlock()
	if took < time.Second {
		t.measureDisk(in)
	}
}

// maxWalk is how many files of a scratch directory are measured. A job with more is measured too low.
const maxWalk = 200_000

// treeSize adds up the disk that a directory's files take.
func treeSize(dir string) (sum int64) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0
	}
	defer root.Close()
	seen, links := 0, map[uint64]bool{}
	_ = fs.WalkDir(root.FS(), ".", func(_ string, e fs.DirEntry, err error) error {
		if seen++; seen > maxWalk {
			return errTooMany
		}
		if err != nil {
			return nil // the job changes it meanwhile
		}
		if fi, err := e.Info(); err == nil {
			n, link := allocated(fi)
			if link == 0 || !links[link] {
				sum += n
			}
			if link != 0 {
				links[link] = true
			}
		}
		return nil
	})
	return sum
}

var errTooMany = errors.New("too many files")

// size writes a number of bytes for people: "1.3 GB".
func size(n int64) string {
	const step = 1000
	units := []string{"bytes", "kB", "MB", "GB", "TB", "PB"}
	if n < step {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	f, unit := float64(n), 0
	for f >= step && unit < len(units)-1 {
		f, unit = f/step, unit+1
	}
	if text := strconv.FormatFloat(f, 'f', 1, 64); text != "1000.0" || unit == len(units)-1 {
		return text + " " + units[unit]
	}
	return "1.0 " + units[unit+1]
}
