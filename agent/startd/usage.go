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

	"skua/agent/rhythm"
	"skua/agent/starter"
	"skua/agent/walk"
	"skua/internal/diag"
	"skua/internal/job"
)

// limits are what a job may take of its slot. Zero means no limit.
type limits struct {
	Memory int64 `json:"memory,omitempty"` // bytes
	Disk   int64 `json:"disk,omitempty"`   // bytes of the scratch directory
}

// limits are what the slot advertises: no job gets more of the machine than its owner grants.
func (k *keeper) limits() limits {
	ad := k.shareAd()
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

// lookEach is how long it is until a job is looked at again.
func (t *tenant) lookEach(in Init) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stands() { // and takes nothing more of the disk
		now := time.Now()
		wait := rhythm.Next(now, t.k.d.cfg.LookStill).Sub(now)
		if soon := t.still.Add(coolAfter).Sub(now); soon > 0 {
			wait = min(wait, soon)
		}
		return wait
	}
	return min(t.disk.nextLook(t.k.d.cfg.LookEach), loadEach)
}

// look measures a job that runs, and has it end if it takes more than it may.
func (t *tenant) look(ctx context.Context, in Init) {
	t.mu.Lock()
	still := t.stands()
	t.mu.Unlock()
	if still {
		return // it takes nothing more, and the machine is its owner's now
	}
	p := in.Processes()
	if p.Refused {
		t.exceeded(t.overProcesses(p.Peak))
	}
	// Where the kernel keeps a job to its limits its processes are counted for the load only; that costs the more the more
	// there are.
	if kept := in.LimitsMemory() && p.Peak > 0; !kept || time.Since(t.surveyed) >= loadEach {
		t.surveyed = time.Now()
		t.usage(ctx)
	}
	t.lookDisk(in)
}

// usage is what the job has used so far, in this claim.
func (t *tenant) usage(ctx context.Context) job.Usage {
	if t == nil {
		return job.Usage{}
	}
	if u, ok := t.unchanged(); ok {
		return u
	}
	if in := t.running.Load(); in != nil {
		const most = time.Second
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		asked := time.Now()
		limit := t.limits.Memory
		if limit == 0 {
			limit = math.MaxInt64
		}
		// A job that has just ended, or an init of an older agent, has nothing to tell.
		if r, err := (*in).Look(ctx, limit); err == nil {
			t.peak(r, 0)
			t.mu.Lock()
			t.counted = asked
			t.mu.Unlock()
			if r.Runnable != nil {
				t.k.d.load.sampled(t.k.num, *r.Runnable)
			}
			if r.Memory > limit && !(*in).LimitsMemory() {
				t.exceeded(t.overMemory(r.Memory))
			}
			if r.Pids >= t.k.d.cfg.MaxProcesses && (*in).Processes().Peak == 0 { // else the kernel says it
				t.exceeded(t.overProcesses(r.Pids))
			}
			return t.sinceStart(r.Used)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

// unchanged is the usage of a job that has stood still since its init was last asked: there, too, only time has passed.
func (t *tenant) unchanged() (u job.Usage, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u = t.used
	u.Wall += time.Since(t.counted)
	return u, t.stands() && t.counted.After(t.still)
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
	t.used.Read = max(t.used.Read, t.earlier.Read+u.Read-t.brought.Read)
	t.used.Written = max(t.used.Written, t.earlier.Written+u.Written-t.brought.Written)
	t.used.NetIn = max(t.used.NetIn, t.earlier.NetIn+u.NetIn-t.brought.NetIn)
	t.used.NetOut = max(t.used.NetOut, t.earlier.NetOut+u.NetOut-t.brought.NetOut)
	t.used.Checkpoints = max(t.used.Checkpoints, t.earlier.Checkpoints+u.Checkpoints-t.brought.Checkpoints)
	return t.used
}

// ranOnce notes what the job has used that is about to be started again in this claim.
func (t *tenant) ranOnce(u starter.Usage) {
	used := t.sinceStart(u)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.earlier, t.brought = used, job.Usage{}
}

// usageRecord is the content of the file by which the next agent knows what of the init's counts falls to the claim.
type usageRecord struct {
	Claim   job.ClaimID `json:"claim"`
	Brought job.Usage   `json:"brought,omitzero"`
	Earlier job.Usage   `json:"earlier,omitzero"`
}

// noteUsage writes down what sinceStart goes by. That is not flushed: no job outlives a restart of the machine.
func (t *tenant) noteUsage() {
	t.mu.Lock()
	rec := usageRecord{t.offer.Claim, t.brought, t.earlier}
	t.mu.Unlock()
	if err := writeJSON(t.dir, usageFile, rec, false); err != nil {
		t.log.Warn("an agent that is started again will not count right what the job uses", diag.KeyError, err)
	}
}

// recallUsage reads what noteUsage has written, if it has been for this claim.
func (t *tenant) recallUsage() {
	var rec usageRecord
	if err := readJSON(t.dir, usageFile, &rec); err != nil || rec.Claim != t.offer.Claim {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.brought, t.earlier, t.used = rec.Brought, rec.Earlier, rec.Earlier
}

func jobUsage(u starter.Usage) job.Usage {
	return job.Usage{
		UserCPU: u.User, SysCPU: u.System, Wall: u.Wall, MaxRSS: u.MaxRSS,
		Read: u.Read, Written: u.Written, NetIn: u.NetIn, NetOut: u.NetOut, Checkpoints: u.Checkpoints,
	}
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

func (t *tenant) overProcesses(peak int) *holdError {
	most := t.k.d.cfg.MaxProcesses
	return &holdError{code: job.HoldOutOfResources, reason: fmt.Sprintf(
		"the job used more than %d processes, which is what %s allows: it had %d at a time, threads included, and wanted more",
		most, t.k.name, max(peak, most))}
}

func (t *tenant) overMemory(used int64) *holdError {
	return &holdError{code: job.HoldOutOfResources, reason: fmt.Sprintf(
		"the job used %s of memory, and %s allows %s; request_memory asks for a slot with more",
		size(used), t.k.name, size(t.limits.Memory))}
}

// maxWalk is how many files of a scratch directory are measured. A job with more is measured too low, and so is one with
// paths beyond [walk.MaxPath].
const maxWalk = 200_000

// treeSize adds up the disk that a directory's files take, and counts them.
func treeSize(dir string) (sum int64, seen int) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, 0
	}
	defer root.Close()
	links := map[uint64]bool{}
	_ = walk.Tree(root, ".", func(_ string, e fs.DirEntry, err error) error {
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
	return sum, min(seen, maxWalk)
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
