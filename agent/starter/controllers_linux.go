package starter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel's controllers keep a claim to its limits: those of cgroup v2 in the claim's own cgroup or,
// where the machine has them there, those of cgroup v1, each in a hierarchy of its own.

// legacy are the controllers of cgroup v1 that we use, each with the file by which its counterpart is known.
var legacy = []struct{ name, modern string }{
	{"cpu", "cpu.max"}, {"memory", "memory.max"}, {"pids", "pids.max"}, {"blkio", "io.weight"},
}

// findLegacy returns, by controller, the directories in which claims get theirs. Those that cannot be used
// are missing.
func findLegacy() map[string]string {
	mounts, own, err := readHierarchies()
	if err != nil {
		return nil
	}
	bases := map[string]string{}
	for _, c := range legacy {
		mount, path := cgroup1Mount(mounts, c.name), cgroup1Path(own, c.name)
		if mount == "" || path == "" {
			continue
		}
		base := filepath.Join(mount, path, "skua")
		if err := mkdir(base, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			continue
		}
		if unix.Access(filepath.Join(base, "cgroup.procs"), unix.W_OK) == nil {
			bases[c.name] = base
		}
	}
	if base := bases["cpu"]; base != "" {
		allClaims.set(base, false)
		grantRealtime(base, 8*claimRealtime)
	}
	return bases
}

// cgroup1Mount finds the mount point of a controller's v1 hierarchy in /proc/self/mounts.
func cgroup1Mount(mounts []byte, controller string) string {
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), controller) {
			return f[1]
		}
	}
	return ""
}

// cgroup1Path finds the path of a controller's v1 hierarchy in /proc/self/cgroup.
func cgroup1Path(own []byte, controller string) string {
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) {
			return f[2]
		}
	}
	return ""
}

// limit puts the limits in force that the claim's cgroup, or those of cgroup v1 below bases, can keep.
func (c *jobCgroup) limit(bases map[string]string, name string, spec ClaimSpec) error {
	disk, memory, pids := int64(1), spec.Limits.Memory, int64(spec.Limits.Pids)
	if spec.Prompt {
		disk = 0 // as it is
	}
	for _, l := range legacy {
		base := bases[l.name]
		none := l.name == "memory" && memory == 0 || l.name == "pids" && pids == 0 || l.name == "cpu" && spec.Prompt
		if base == "" || none || c.has(l.modern) || l.name == "blkio" && !weighs(base) {
			continue
		}
		dir := filepath.Join(base, name)
		if err := mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if c.legacy == nil {
			c.legacy = map[string]string{}
		}
		c.legacy[l.name] = dir
	}
	for _, v := range []struct {
		dir, name string
		value     int64
	}{
		{c.path, "memory.max", memory},
		{c.path, "memory.oom.group", 1}, // all or nothing: half a job would go on to a result that looks like any other
		{c.path, "pids.max", pids},
		{c.path, "io.weight", disk},
		{c.path, "io.bfq.weight", disk},
		{c.legacy["memory"], "memory.limit_in_bytes", memory},
		{c.legacy["memory"], "memory.memsw.limit_in_bytes", memory},
		{c.legacy["pids"], "pids.max", pids},
		{c.legacy["blkio"], "blkio.weight", 10 * disk}, // the least there is
		{c.legacy["blkio"], "blkio.bfq.weight", disk},
	} {
		if v.value == 0 || v.dir == "" {
			continue
		}
		if err := c.set(v.dir, v.name, strconv.FormatInt(v.value, 10)); err != nil {
			return fmt.Errorf("limit the job: %w", err)
		}
	}
	c.weigh(allClaims, c.usual())
	if dir := c.legacy["cpu"]; dir != "" {
		grantRealtime(dir, claimRealtime)
	}
	if memory > 0 && c.has("memory.max") {
		// What it may have is memory; swapped out, it would be the owner's disk that it has. See allowSwap.
		if err := c.set(c.path, "memory.swap.max", "0"); err != nil {
			return fmt.Errorf("limit the job: %w", err)
		}
	}
	return nil
}

// allowSwap says whether memory of a job that is kept to a limit may go to the swap. Only that of one that stands still may: its
// owner wants the memory.
func (c *jobCgroup) allowSwap(allowed bool) error {
	if limit, err := readControl(filepath.Join(c.path, "memory.max")); err != nil || string(bytes.TrimSpace(limit)) == "max" {
		return nil // it was never forbidden
	}
	value := "0" // what is there already comes back when it is used
	if allowed {
		value = "max"
	}
	return c.set(c.path, "memory.swap.max", value)
}

// weighs says whether a v1 hierarchy shares the disks out by weight, which takes a scheduler that can.
func weighs(base string) bool {
	for _, name := range []string{"blkio.weight", "blkio.bfq.weight"} {
		if _, err := os.Stat(filepath.Join(base, name)); err == nil {
			return true
		}
	}
	return false
}

// set writes a control file, if there is one and it may be written.
func (c *jobCgroup) set(dir, name, value string) error {
	err := writeControl(filepath.Join(dir, name), []byte(value))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// has says whether the claim's own cgroup has a control file.
func (c *jobCgroup) has(name string) bool {
	_, err := os.Stat(filepath.Join(c.path, name))
	return err == nil
}

// hasMemory reports whether the kernel limits the memory of the job.
func (c *jobCgroup) hasMemory() bool { return c.has("memory.max") || c.legacy["memory"] != "" }

// hasPids reports whether the kernel limits the job's processes.
func (c *jobCgroup) hasPids() bool { return c.has("pids.max") || c.legacy["pids"] != "" }

// memory says what the kernel counts of the job's memory shortages.
func (c *jobCgroup) memory() (atLimit, killed bool) {
	if events, err := readControl(filepath.Join(c.path, "memory.events")); err == nil {
		return parseMemoryEvents(events)
	}
	dir := c.legacy["memory"]
	if dir == "" {
		return false, false
	}
	control, _ := readControl(filepath.Join(dir, "memory.oom_control"))
	read := func(name string) int64 {
		b, _ := readControl(filepath.Join(dir, name))
		n, _ := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		return n
	}
	// The counts of failures are no help: the kernel raises them only sometimes. The peak comes close to the limit.
	limit := read("memory.limit_in_bytes")
	atLimit = limit > 0 && read("memory.max_usage_in_bytes") >= limit-limit/16
	_, killed = parseMemoryEvents(control) // has the same line
	return atLimit, killed
}

// pidsDir is the directory of the controller of processes, if there is one.
func (c *jobCgroup) pidsDir() string {
	if dir := c.legacy["pids"]; dir != "" {
		return dir
	}
	return c.path
}

// refused says whether the job was denied a process.
func (c *jobCgroup) refused() bool {
	events, err := readControl(filepath.Join(c.pidsDir(), "pids.events"))
	return err == nil && parsePidsEvents(events) > 0
}

// processes says what the kernel counts of the job's processes.
func (c *jobCgroup) processes() Processes {
	p := Processes{Refused: c.refused()}
	for _, name := range []string{"pids.peak", "pids.current"} { // the first came with Linux 6.1
		if b, err := readControl(filepath.Join(c.pidsDir(), name)); err == nil {
			p.Peak, _ = strconv.Atoi(string(bytes.TrimSpace(b)))
			break
		}
	}
	return p
}

// parsePidsEvents reads pids.events: how often a new process was refused.
func parsePidsEvents(events []byte) int64 {
	for line := range strings.Lines(string(events)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "max "); ok {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// quotaPeriod is how long a job may use up its share of the processors at once, and then has to wait.
const quotaPeriod = 50 * time.Millisecond

// leastQuota is the smallest that the kernel takes.
const leastQuota = time.Millisecond

// throttle has a controller keep the job to so many processors; with 0 it may have all. It is false where none can.
func (c *jobCgroup) throttle(cpus float64) (done bool, err error) {
	quota := max(leastQuota, time.Duration(cpus*float64(quotaPeriod))).Microseconds()
	period := strconv.FormatInt(quotaPeriod.Microseconds(), 10)
	write := func(dir, name, value string) error { return writeControl(filepath.Join(dir, name), []byte(value)) }
	if c.has("cpu.max") {
		value := "max " + period
		if cpus > 0 {
			value = strconv.FormatInt(quota, 10) + " " + period
		}
		return true, write(c.path, "cpu.max", value)
	}
	dir := c.legacy["cpu"]
	if _, err := os.Stat(filepath.Join(dir, "cpu.cfs_quota_us")); dir == "" || err != nil {
		return false, nil
	}
	if cpus <= 0 {
		return true, write(dir, "cpu.cfs_quota_us", "-1")
	}
	if err := write(dir, "cpu.cfs_period_us", period); err != nil {
		return true, err
	}
	return true, write(dir, "cpu.cfs_quota_us", strconv.FormatInt(quota, 10))
}

// removeLegacy removes a claim's cgroups of v1, in which nothing lives any more.
func removeLegacy(dirs map[string]string, limit time.Duration) error {
	for _, dir := range dirs {
		if err := removeEmpty(dir, limit); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes a cgroup in which nothing lives any more, as the kernel is about to notice.
func removeEmpty(dir string, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		time.Sleep(2 * time.Millisecond)
	}
}
