package realpool_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/desktest"
	"skua/internal/realpool"
)

// TestBusyOwner is no test but a measurement, of how much longer the owner's own work takes because of a job:
// one that stands still, one that is throttled, and one of which an image is made, compressed and uploaded.
// It runs where $SKUA_DESK_ROUNDS says how often each is compared with a machine without a job. See
// scripts/bench-desk.
func TestBusyOwner(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("SKUA_DESK_ROUNDS"))
	if err != nil {
		t.Skip("SKUA_DESK_ROUNDS does not say how often to measure")
	}
	needProgram(t, "gcc", "python3")
	for _, with := range []struct {
		name   string
		policy string
		job    string
		ready  func(*machine)
		sends  bool // what the matchmaker must take
	}{
		{"frozen", `preset = "desktop"
[owner]
idle_after = "2s"
continue_after = "5m"
background_load = 1000.0
[vacate]
suspend_for = "10m"
`, plainJob, func(m *machine) { m.type_(); m.await("Suspended") }, false},
		{"throttled", office, plainJob, func(m *machine) { m.type_(); m.awaitThrottled() }, false},
		{"throttled_crowd", office, busyJob, func(m *machine) { m.type_(); m.awaitThrottled() }, false},
		{"imaged", `preset = "desktop"
[owner]
idle_after = "2s"
continue_after = "5m"
background_load = 1000.0
[vacate]
suspend_for = "1s"
max_vacate_time = "5m"
`, hugeJob, func(m *machine) { m.type_() }, true},
	} {
		t.Run(with.name, func(t *testing.T) {
			m := newMachine(t, with.policy)
			do := func(w *work) worked { return w.do(t) }
			if !with.sends {
				do = func(w *work) worked {
					defer m.stopOthers()()
					return w.do(t)
				}
			}
			compare(t, m, with.name, with.job, with.ready, do, rounds)
		})
	}
}

// office lets jobs go on beside the owner.
const office = `preset = "office"
[owner]
continue_after = "5m"
`

// plainJob keeps every processor busy. A crowd of 200 processes costs the owner more while it stands still on a machine on
// which something looks at all processes every second: they do so without Skua, too.
var plainJob = fmt.Sprintf(`
for i in $(seq %d); do while :; do :; done & done
echo ready
wait
`, runtime.NumCPU())

// hugeJob holds 500 MB that cannot be compressed.
const hugeJob = `exec python3 -c '
import os
held = [os.urandom(1 << 20) for _ in range(500)]
print("ready", flush=True)
while True: pass
'`

// compare does the owner's work in turns without and with a job, and prints what the medians of the turns differ by.
// Each turn with a job is compared with the two around it, so that a machine that gets slower or faster meanwhile
// does not count; what neighbours without a job differ by is the noise of the measurement.
func compare(t *testing.T, m *machine, name, script string, ready func(*machine), do func(*work) worked, rounds int) {
	t.Helper()
	work := newWork(t)
	do(work) // the first finds no program in memory
	swapped := swappedOut(t)
	alone, beside := []worked{do(work)}, []worked{}
	var taken []float64
	for range rounds {
		id := m.submit(script)
		ready(m)
		share := m.taken()
		beside = append(beside, do(work))
		taken = append(taken, share())
		m.remove(id)
		alone = append(alone, do(work))
	}
	report := func(what string, of func(worked) time.Duration) {
		var ratios, noise []float64
		for i := range beside {
			before, after := of(alone[i]).Seconds(), of(alone[i+1]).Seconds()
			ratios = append(ratios, 2*of(beside[i]).Seconds()/(before+after))
			noise = append(noise, math.Abs(after/before-1))
		}
		fmt.Printf("bench: owner_%s_slowdown_%s_pct=%.2f\n", what, name, (median(ratios)-1)*100)
		fmt.Printf("bench: owner_%s_noise_%s_pct=%.2f\n", what, name, median(noise)*100)
	}
	var flushes, flushesBeside []time.Duration
	for _, w := range alone {
		flushes = append(flushes, w.flushes...)
	}
	for _, w := range beside {
		flushesBeside = append(flushesBeside, w.flushes...)
	}
	report("loop", func(w worked) time.Duration { return w.loop })
	report("compile", func(w worked) time.Duration { return w.compile })
	// The machine's own speed changes from minute to minute; how long a program waits for a processor does not.
	waits := func(what string, took, used func(worked) time.Duration) {
		typical := func(all []worked) float64 {
			var ratios []float64
			for _, w := range all {
				ratios = append(ratios, took(w).Seconds()*float64(runtime.NumCPU())/used(w).Seconds())
			}
			return median(ratios)
		}
		fmt.Printf("bench: owner_%s_waits_more_%s_pct=%.2f\n", what, name, (typical(beside)/typical(alone)-1)*100)
	}
	waits("loop", func(w worked) time.Duration { return w.loop }, func(w worked) time.Duration { return w.loops })
	waits("compile", func(w worked) time.Duration { return w.compile }, func(w worked) time.Duration { return w.compilers })
	fmt.Printf("bench: agent_and_job_cpu_%s_pct=%.2f\n", name, median(taken)*100)
	fmt.Printf("bench: owner_fsync_p99_%s_ratio=%.2f\n", name, float64(p99(flushesBeside))/float64(p99(flushes)))
	fmt.Printf("bench: owner_swapped_out_%s_pages=%d\n", name, swappedOut(t)-swapped)
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[int(math.Ceil(0.99*float64(len(all))))-1]
}

// machine is a pool of one desktop with an owner at an X display.
type machine struct {
	t    *testing.T
	p    *realpool.Pool
	desk *desktest.Desk
}

func newMachine(t *testing.T, policy string) *machine {
	t.Helper()
	desk, err := desktest.X11(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(desk.Close)
	needSandbox(t)
	// In truth the matchmaker is on another machine, so what it writes does not keep this one's disk from the owner.
	elsewhere, err := os.MkdirTemp("/dev/shm", "skua-matchmaker-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(elsewhere) })
	p := realpool.Start(t, bin, realpool.Config{
		Agents: 1, Lease: 600, Renew: 60, Data: elsewhere,
		Policy: func(int) string { return policy },
		Agent:  func(int) string { return fmt.Sprintf("displays = [%q]\nttys = false\n", desk.Source) },
	})
	elsewhereToo(t, p.Matchmaker.Pid())
	return &machine{t: t, p: p, desk: desk}
}

// elsewhereToo has a process that in truth is on another machine compute when the owner's work does not want the processors.
func elsewhereToo(t *testing.T, pid int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("threads of process %d: %d, %v", pid, len(tasks), err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err == nil {
			err = unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}

// stopOthers has the matchmaker and the couriers, which in truth are on other machines, stand still until they are let go on.
func (m *machine) stopOthers() (goOn func()) {
	m.t.Helper()
	others := append(m.p.Couriers(), m.p.Matchmaker.Pid())
	tell := func(what unix.Signal) {
		for _, pid := range others {
			if err := unix.Kill(pid, what); err != nil && !errors.Is(err, unix.ESRCH) {
				m.t.Errorf("%v for process %d: %v", what, pid, err)
			}
		}
	}
	tell(unix.SIGSTOP)
	return func() { tell(unix.SIGCONT) }
}

// type_ presses keys for two seconds, by which the owner is known to be back.
func (m *machine) type_() {
	m.t.Helper()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err := m.desk.Press(); err != nil {
			m.t.Fatal(err)
		}
	}
}

// submit gives the machine a job and waits until that is at work.
func (m *machine) submit(script string) (id string) {
	m.t.Helper()
	m.p.Script("job.sh", script)
	id = m.p.Submit("job.sub", "executable = job.sh\noutput = job.out\nrequest_memory = 1GB\nqueue\n") + ".0"
	m.p.Await("the job is ready", func() bool {
		out, _, _ := m.p.Run("", "skua", "tail", id)
		ready := strings.Contains(out, "ready")
		if !ready {
			time.Sleep(time.Second) // to ask takes processors too, for which a throttled job makes room
		}
		return ready
	})
	for _, pid := range m.p.Couriers() {
		elsewhereToo(m.t, pid)
	}
	return id
}

// remove takes the job away, wherever it is by now.
func (m *machine) remove(id string) {
	m.t.Helper()
	m.p.Must("skua", "rm", id)
	m.p.Await("the job is gone", func() bool { return len(m.p.JobProcesses(id)) == 0 })
	m.awaitNothing()
}

func (m *machine) awaitNothing() {
	m.t.Helper()
	m.p.Await("the claim is gone", func() bool { return len(m.p.Cgroups()) == 0 })
}

func (m *machine) await(activity string) {
	m.t.Helper()
	m.p.AwaitFor(time.Minute, "the slot is "+activity, func() bool {
		return strings.TrimSpace(m.p.Must("skua", "status", "-af", "Activity")) == activity
	})
}

func (m *machine) awaitThrottled() {
	m.t.Helper()
	m.p.AwaitFor(time.Minute, "the job is throttled", func() bool {
		return strings.TrimSpace(m.p.Must("skua", "status", "-af", "Throttled")) == "true"
	})
}

// taken gives what share of the machine's processors the agent, with all below it and so the job, has used since.
func (m *machine) taken() (share func() float64) {
	m.t.Helper()
	look := func() use {
		u, err := readUse(m.p.Agents[0].Pid())
		if err != nil {
			m.t.Fatal(err)
		}
		return u
	}
	before, start := look(), time.Now()
	return func() float64 {
		return (look().cpu - before.cpu) / time.Since(start).Seconds() / float64(runtime.NumCPU())
	}
}

// work is what an owner does: every processor computes, every processor compiles, and files are saved in between.
type work struct {
	dir   string
	turns uint64 // of the loop, for some ten seconds: from second to second the machine's speed changes by more than is looked for
}

// sources is how many files are compiled, one after the other on every processor: so many that it hardly matters which
// processor has the last one.
const sources = 120

// worked says how long it took.
type worked struct {
	loop, compile    time.Duration
	loops, compilers time.Duration // of processors that all of them have used
	flushes          []time.Duration
}

func newWork(t *testing.T) *work {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "owner-") // on a disk
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &work{dir: dir, turns: 1 << 20}
	for file := range sources {
		var text strings.Builder
		text.WriteString("#include <math.h>\n")
		for i := range 25 {
			fmt.Fprintf(&text, "double f%d(double *a, int n) { double s = %d; for (int i = 0; i < n; i++) { a[i] = sin(a[i]) * s + a[(i * %d) %% n]; s += a[i] > 0 ? a[i] : -a[i]; } return s; }\n", i, i, i+1)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(file, ".c")), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for took := time.Duration(0); took < 8*time.Second; took = everywhere(func(int) { spin(w.turns) }) {
		w.turns *= 2
	}
	return w
}

// spin computes something, the same each time.
func spin(turns uint64) {
	x := uint64(1)
	for i := range turns {
		x = x*6364136223846793005 + i
	}
	sink.Store(x)
}

var sink atomic.Uint64 // keeps the compiler from leaving the loop out

// everywhere does the same on every processor and gives the time until the last has done it.
func everywhere(what func(n int)) time.Duration {
	start := time.Now()
	var wg sync.WaitGroup
	for n := range runtime.NumCPU() {
		wg.Go(func() { what(n) })
	}
	wg.Wait()
	return time.Since(start)
}

// do does the work once.
func (w *work) do(t *testing.T) worked {
	t.Helper()
	var done worked
	ctx, stop := context.WithCancel(t.Context())
	var saving sync.WaitGroup
	saving.Go(func() { done.flushes = w.save(t, ctx) })
	var next, used atomic.Int64
	done.compile = everywhere(func(int) {
		for file := next.Add(1) - 1; file < sources; file = next.Add(1) - 1 {
			gcc := exec.Command("gcc", "-O2", "-c", fmt.Sprint(file, ".c"))
			gcc.Dir = w.dir
			if text, err := gcc.CombinedOutput(); err != nil {
				t.Errorf("gcc: %v\n%s", err, text)
			}
			used.Add(int64(gcc.ProcessState.UserTime() + gcc.ProcessState.SystemTime())) // with its own children's
		}
	})
	stop()
	saving.Wait()
	done.compilers = time.Duration(used.Swap(0))
	done.loop = everywhere(func(int) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before := threadTime(t)
		spin(w.turns)
		used.Add(int64(threadTime(t) - before))
	})
	done.loops = time.Duration(used.Load())
	return done
}

// threadTime is what this thread has used of the processors.
func threadTime(t *testing.T) time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		t.Error(err)
	}
	return time.Duration(used.Nano())
}

// save writes a page to a file and flushes it, twenty times a second until ctx ends.
func (w *work) save(t *testing.T, ctx context.Context) (took []time.Duration) {
	f, err := os.Create(filepath.Join(w.dir, "saved"))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer f.Close()
	page := make([]byte, 4096)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		start := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			t.Error(err)
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		took = append(took, time.Since(start))
		<-tick.C
	}
	return took
}

// swappedOut gives how many pages the machine has written to its swap so far.
func swappedOut(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		t.Fatal(err)
	}
	return int64(field(text, "pswpout "))
}
