package realpool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/probe"
	"skua/agent/starter"
	"skua/internal/desktest"
	"skua/internal/job"
	"skua/internal/realpool"
)

// TestDesk is no test but a measurement, of what the owner of a machine notices: how long after a press a job of
// 200 busy processes stands still. It runs where $SKUA_DESK says how often each desk is pressed. See scripts/bench-desk.
func TestDesk(t *testing.T) {
	trials, err := strconv.Atoi(os.Getenv("SKUA_DESK"))
	if err != nil {
		t.Skip("SKUA_DESK does not say how often to press")
	}
	needSandbox(t)
	for _, desk := range []struct {
		name string
		open func(context.Context) (*desktest.Desk, error)
	}{{"x11", desktest.X11}, {"wayland", desktest.Wayland}, {"pty", desktest.Pty}} {
		took := pressAndFreeze(t, desk.open, trials)
		slices.Sort(took)
		at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1e3 }
		fmt.Printf("bench: frozen_%s_p50_ms=%.2f\nbench: frozen_%s_p99_ms=%.2f\nbench: frozen_%s_max_ms=%.2f\n",
			desk.name, at(0.5), desk.name, at(0.99), desk.name, at(1))
	}
}

// TestIdle is no test either: it measures what an agent without a job costs. It runs where $SKUA_DESK_IDLE says how long
// the agent is watched.
func TestIdle(t *testing.T) {
	idle, err := time.ParseDuration(os.Getenv("SKUA_DESK_IDLE"))
	if err != nil {
		t.Skip("SKUA_DESK_IDLE does not say how long to watch an idle agent")
	}
	needSandbox(t)
	cost := idleCost(t, idle)
	fmt.Printf("idle: pss_mb=%.1f cpu_pct=%.4f wakeups_per_s=%.2f\n",
		cost.memory/1e6, cost.cpu*100, cost.wakeups)
}

// busyJob keeps every processor busy with 200 processes.
const busyJob = `i=1; while [ $i -lt 200 ]; do (while :; do :; done) & i=$((i+1)); done; echo ready; while :; do :; done`

// pressAndFreeze has a job run, presses, and gives the times from before each press until the kernel says that the
// last thread of the job has stopped. The watcher freezes as the agent does: straight from its callback.
func pressAndFreeze(t *testing.T, open func(context.Context) (*desktest.Desk, error), trials int) []time.Duration {
	t.Helper()
	dir, base := t.TempDir(), filepath.Join(cgroups(t), "skua-desk-"+strconv.Itoa(os.Getpid()))
	s, err := starter.New(starter.Config{Dir: dir, CgroupBase: base})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(base) })
	claim := job.ClaimID("desk")
	in, err := s.Open(t.Context(), starter.ClaimSpec{Claim: claim, Lease: time.Hour, Limits: starter.Limits{Pids: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := s.Remove(claim); err != nil {
			t.Error(err)
		}
	}()
	spec := starter.JobSpec{Job: job.ID{Cluster: 1}, Argv: []string{"/bin/sh", "-c", busyJob}, Stdout: "out"}
	if err := in.Run(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	poll(t, "the job is busy", func() bool {
		out, _ := os.ReadFile(filepath.Join(in.Scratch(), "out"))
		return len(out) > 0
	})
	events := filepath.Join(base, string(claim), "cgroup.events")

	desk, err := open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer desk.Close()
	stopped := make(chan time.Time, 1)
	cfg := desk.Watch
	cfg.OnActive = func(probe.Active) {
		if err := in.Freeze(); err != nil {
			t.Error(err)
		}
		for !frozen(events) {
		}
		select {
		case stopped <- time.Now():
		default: // a press of before
		}
	}
	w, err := probe.NewWatcher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		stop()
		<-ended
	}()
	var took []time.Duration
	for range trials {
		if err := desktest.Quiet(ctx, w, desk.Source, probe.DefaultQuiet); err != nil {
			t.Fatal(err)
		}
		if err := in.Thaw(); err != nil {
			t.Fatal(err)
		}
		poll(t, "the job goes on", func() bool { return !frozen(events) })
		for len(stopped) > 0 {
			<-stopped
		}
		start := time.Now()
		if err := desk.Press(); err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-stopped:
			took = append(took, at.Sub(start))
		case <-time.After(time.Minute):
			t.Fatal("the job did not stand still after a press")
		}
	}
	return took
}

func frozen(events string) bool {
	text, err := os.ReadFile(events)
	return err == nil && bytes.Contains(text, []byte("frozen 1"))
}

// cgroups is where the hierarchy of cgroup v2 is mounted.
func cgroups(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Skip("no cgroup v2 here")
	return ""
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a minute not true: %s", what)
		}
	}
}

// cost is what a tree of processes takes.
type cost struct {
	memory  float64 // bytes, what is shared with others divided among all
	cpu     float64 // of one processor
	wakeups float64 // a second: voluntary context switches of all threads
}

// idleCost watches the agent of a machine with an X display and a Wayland session that nobody uses, and the
// processes below it.
func idleCost(t *testing.T, long time.Duration) cost {
	t.Helper()
	realpool.Display(t)
	session := logIn(t)
	t.Setenv("GODEBUG", "disablethp=1") // as the service has it
	p := realpool.Start(t, inMemory(t, bin), realpool.Config{
		Agents: 1, Lease: 2400,
		Policy: func(int) string {
			return "preset = \"desktop\"\n[owner]\nidle_after = \"2s\"\nbackground_load = 1000.0\n"
		},
		Agent: func(int) string { return "" }, // it finds both by itself
	})
	agent := p.Agents[0].Pid()
	p.Await("the session is watched", func() bool {
		return strings.Contains(p.Agents[0].Log(), fmt.Sprintf("owner input is watched\" source=%q", session))
	})
	// Its speed is measured once in its life, in an idle moment.
	p.AwaitFor(30*time.Minute, "the machine has measured its speed", func() bool {
		time.Sleep(5 * time.Second) // asking is no work for the machine that is to be idle
		return strings.Contains(p.Agents[0].Log(), "this machine's speed was measured")
	})
	bare := wakeUps(20, min(long, 100*time.Second)) // what the start has left behind is given back meanwhile
	before, err := readUse(agent)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	time.Sleep(long)
	after, err := readUse(agent)
	if err != nil {
		t.Fatal(err)
	}
	seconds := time.Since(start).Seconds()
	fmt.Printf("bench: idle_cpu_ms=%.1f\nbench: idle_disk_faults=%.0f\nbench: idle_bare_wakeup_us=%.0f\nbench: idle_programs_mb=%.1f\n",
		(after.cpu-before.cpu)*1e3, after.reads-before.reads, bare.Seconds()*1e6, after.files/1e6)
	return cost{
		memory: after.memory, cpu: (after.cpu - before.cpu) / seconds,
		wakeups: (after.switches - before.switches) / seconds,
	}
}

// inMemory copies programs to where they stay in memory. There are kernels that drop what has not been used for a
// minute from their page cache, and to read a program from disk once more costs many times what it then does.
func inMemory(t *testing.T, programs string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("skua", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(dir, os.DirFS(programs)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wakeUps has a thread that does nothing else wake so often in that time, and gives what each time cost it of a
// processor: what no program can do without on this machine.
func wakeUps(times int, in time.Duration) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var t unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // cannot fail for oneself
		return time.Duration(t.Nano())
	}
	before := used()
	for range times {
		t := unix.NsecToTimespec(int64(in) / int64(times))
		_ = unix.Nanosleep(&t, nil) // a signal makes it shorter
	}
	return (used() - before) / time.Duration(times)
}

// logIn gives the machine a user with a Wayland session, and how the agent calls that.
func logIn(t *testing.T) string {
	t.Helper()
	desk, err := desktest.Wayland(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(desk.Close)
	dir := filepath.Join("/run/user", filepath.Base(desk.RuntimeDir))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(desk.RuntimeDir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	return desk.Source
}

type use struct {
	memory   float64 // bytes
	files    float64 // how much of that is of files: of programs
	cpu      float64 // seconds
	switches float64 // voluntary ones
	reads    float64 // faults that had to wait for a disk
}

// processClock is the clock of the processor time of a process: what clock_getcpuclockid(3) gives.
func processClock(pid int) int32 {
	const scheduled = 2 // CPUCLOCK_SCHED
	return ^int32(pid)<<3 | scheduled
}

// readUse adds up what a process and all below it have used.
func readUse(pid int) (use, error) {
	var u use
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	rollup, err := os.ReadFile(filepath.Join(proc, "smaps_rollup"))
	if err != nil {
		return u, err
	}
	u.memory, u.files = field(rollup, "Pss:")*1024, (field(rollup, "Pss_File:")+field(rollup, "Pss_Shmem:"))*1024
	var own unix.Timespec // with its threads that have ended
	if err := unix.ClockGettime(processClock(pid), &own); err != nil {
		return u, os.NewSyscallError("clock_gettime", err)
	}
	u.cpu = float64(own.Nano()) / 1e9
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return u, err
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, n := range f[13:15] { // user and system time of children that have ended
		ticks, err := strconv.ParseFloat(n, 64)
		if err != nil {
			return u, err
		}
		u.cpu += ticks / 100
	}
	if u.reads, err = strconv.ParseFloat(f[9], 64); err != nil {
		return u, err
	}
	tasks, err := filepath.Glob(filepath.Join(proc, "task", "*"))
	if err != nil || len(tasks) == 0 {
		return u, errors.Join(err, fmt.Errorf("process %d has no threads", pid))
	}
	for _, task := range tasks {
		status, err := os.ReadFile(filepath.Join(task, "status"))
		if err != nil {
			continue // it has ended
		}
		u.switches += field(status, "voluntary_ctxt_switches:")
		children, _ := os.ReadFile(filepath.Join(task, "children"))
		for _, child := range strings.Fields(string(children)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				return u, err
			}
			below, err := readUse(n)
			if err != nil {
				continue // it has ended
			}
			u.memory, u.files, u.cpu = u.memory+below.memory, u.files+below.files, u.cpu+below.cpu
			u.switches, u.reads = u.switches+below.switches, u.reads+below.reads
		}
	}
	return u, nil
}

// field is the number after a name at the beginning of a line.
func field(text []byte, name string) float64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n
		}
	}
	return 0
}
