package starter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/job"
)

// openLimited opens a claim whose jobs may take so much memory.
func openLimited(t *testing.T, s *Starter, claim job.ClaimID, memory int64) *Init {
	t.Helper()
	i, err := s.Open(t.Context(), ClaimSpec{Claim: claim, Lease: time.Hour, Limits: Limits{Memory: memory}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

// Towards the owner's programs it is what all claims have together that counts.
func TestClaimsComeLast(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	controllers := 0
	for _, v := range []struct{ dir, name, share string }{{s.baseFor(false), "cpu.weight", "2"}, {s.legacy["cpu"], "cpu.shares", "20"}} {
		file := filepath.Join(v.dir, v.name)
		if _, err := os.Stat(file); v.dir == "" || err != nil {
			continue
		}
		controllers++
		await(t, file+" is "+v.share, func() bool { // others may share it, and be frozen or saved meanwhile
			b, err := os.ReadFile(file)
			return err == nil && strings.TrimSpace(string(b)) == v.share
		})
	}
	if controllers == 0 {
		t.Skip("there is no cpu controller that can be used")
	}
}

// A job has the processors only while nothing else wants them, from its beginning and after it stood still.
func TestIdleClass(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	if s.cgroups == nil || os.Getuid() != 0 {
		t.Skip("an init may not set it, and without a cgroup nor does the agent")
	}
	i := open(t, s, "idle")
	run(t, i, JobSpec{Argv: []string{"sleep", "1000"}})
	checkClass(t, i, unix.SCHED_IDLE)
	if err := errors.Join(i.Freeze(), i.Thaw()); err != nil {
		t.Fatal(err)
	}
	checkClass(t, i, unix.SCHED_IDLE)
}

func checkClass(t *testing.T, i *Init, want uint32) {
	t.Helper()
	for _, pid := range jobPids(t, initPid(t, i)) {
		attr, err := unix.SchedGetAttr(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		if attr.Policy != want {
			t.Errorf("process %d has the class %d, want %d", pid, attr.Policy, want)
		}
	}
}

// Threads that are to stop come first, whatever the kernel makes of real-time priorities in cgroups, and last again after it.
func TestHurry(t *testing.T) {
	capable(t)
	s := newStarter(t, nil)
	if s.cgroups == nil || os.Getuid() != 0 {
		t.Skip("without a cgroup or privileges nobody can hurry")
	}
	i := open(t, s, "hurry")
	run(t, i, JobSpec{Argv: []string{"sleep", "1000"}})
	// Others may share the cgroup of all claims, and be hurried or calmed meanwhile.
	awaitWeights := func(all, one weight, again func()) {
		t.Helper()
		dir, name, pick := i.cg.path, "cpu.weight", func(w weight) int64 { return w.modern }
		if !i.cg.has(name) {
			dir, name, pick = i.cg.legacy["cpu"], "cpu.shares", func(w weight) int64 { return w.legacy }
		}
		if dir == "" {
			return // the machine shares its processors out in another way
		}
		is := func(dir string, want weight) bool {
			got, err := os.ReadFile(filepath.Join(dir, name))
			return err == nil && string(bytes.TrimSpace(got)) == strconv.FormatInt(pick(want), 10)
		}
		await(t, fmt.Sprintf("the weights are %v and %v", all, one), func() bool {
			again()
			return is(filepath.Dir(dir), all) && is(dir, one)
		})
	}
	realtime := filepath.Join(i.cg.legacy["cpu"], "cpu.rt_runtime_us")
	granted, err := os.ReadFile(realtime)
	shared := i.cg.legacy["cpu"] != "" && err == nil // the kernel has RT_GROUP_SCHED, and may have granted it all to others
	if !shared || string(bytes.TrimSpace(granted)) != "0" {
		i.cg.hurry()
		checkClass(t, i, unix.SCHED_FIFO)
		i.cg.calm()
		checkClass(t, i, unix.SCHED_IDLE)
		awaitWeights(allClaims, oneClaim, i.cg.calm)
	}

	calm := i.cg.saveGently(initPid(t, i))
	await(t, "the job's threads are of the usual class", func() bool {
		attr, err := unix.SchedGetAttr(jobPids(t, initPid(t, i))[0], 0)
		return err == nil && attr.Policy == unix.SCHED_NORMAL
	})
	awaitWeights(saving[0], equal, func() {})
	calm()
	if dir := i.cg.savingDir(); dir != "" {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the cgroup of an image that is made is left behind: %v", err)
		}
	}
	checkClass(t, i, unix.SCHED_IDLE)
	awaitWeights(allClaims, oneClaim, i.cg.calm)

	// More claims than a kernel of which RT_GROUP_SCHED is set has something for.
	if !shared {
		return
	}
	if err := os.WriteFile(realtime, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	i.cg.hurry()
	checkClass(t, i, unix.SCHED_NORMAL)
	awaitWeights(urgent, urgent, i.cg.hurry)
	i.cg.calm()
	checkClass(t, i, unix.SCHED_IDLE)
	awaitWeights(allClaims, oneClaim, i.cg.calm)
}

// A job that takes too much does not succeed, and one that only reserves a lot is left alone, as the
// heaps of Java and Go are.
func TestMemoryLimit(t *testing.T) {
	const limit = 256 << 20
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	const reserve = `import mmap
m = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
x = b'x' * (64 << 20)
print(len(x))`
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := openLimited(t, s, "limited", limit)
		for _, tt := range []struct {
			name string
			argv []string
			ok   bool
			out  string
		}{
			{"a shell", []string{"sh", "-c", "echo hello | cat"}, true, "hello\n"},
			{"python below it", []string{"python3", "-c", "print(len(b'x' * (64 << 20)))"}, true, "67108864\n"},
			{"a reservation beyond it", []string{"python3", "-c", reserve}, true, "67108864\n"},
			{"python beyond it", []string{"python3", "-c", "print(len(b'x' * (1 << 30)))"}, false, ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				writeScratch(t, i, "out", "")
				run(t, i, JobSpec{Argv: tt.argv, Stdout: "out", Stderr: "err"})
				e := awaitExit(t, i)
				if ok := e.Code == 0 && e.Signal == 0 && e.Err == ""; ok != tt.ok {
					t.Errorf("it ended with %v: %s", e, readScratch(t, i, "err"))
				}
				if got := readScratch(t, i, "out"); got != tt.out {
					t.Errorf("it wrote %q, want %q", got, tt.out)
				}
				if byKernel := i.cg != nil && i.cg.hasMemory(); e.OverMemory != (byKernel && !tt.ok) {
					t.Errorf("ended for its memory: %v, with a controller: %v", e.OverMemory, byKernel)
				}
			})
		}
	})
}

// A limited job moves, too, Go programs with their large reservations among them. The race detector
// reserves more than any limit: under it the Go program, which is this one, is left out.
func TestLimitedJobMoves(t *testing.T) {
	capableOfCheckpoints(t)
	kinds := []string{"python3"}
	if !raceDetector {
		kinds = append(kinds, "go")
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			const limit = 256 << 20
			s := newStarter(t, nil)
			from := openLimited(t, s, "from", limit)
			run(t, from, counter(t, from, kind))
			grows(t, from, "out")
			if _, err := from.Checkpoint(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			to := openLimited(t, s, "to", limit)
			carry(t, from, to)
			if err := to.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
				t.Fatal(err)
			}
			grows(t, to, "out")
			writeScratch(t, to, "stop", "")
			if e := awaitExit(t, to); e.Code != countExit || e.Signal != 0 || e.Err != "" {
				t.Errorf("the job ended with %v", e)
			}
		})
	}
}

// What the kernel counts tells a job that took too much from one that was in the way when the machine
// ran out of memory.
func TestBlame(t *testing.T) {
	killed := Exit{Job: testJob, Signal: 9}
	for _, tt := range []struct {
		name   string
		exit   Exit
		events string
		want   string
	}{
		{"it took too much", killed, "low 0\nhigh 0\nmax 31\noom 2\noom_kill 3\noom_group_kill 1\n", "ended for taking more memory than it may"},
		{"the machine ran out", killed, "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\n", "the machine ran out of memory"},
		{"neither", killed, "low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\n", "ended by signal 9"},
		{"it did well all the same", Exit{Job: testJob}, "oom 1\noom_kill 1\n", "exit code 0"},
		{"it was lost", Exit{Job: testJob, Err: "lost"}, "oom 1\noom_kill 1\n", "lost"},
		{"no controller", killed, "", "ended by signal 9"},
		{"half a line", killed, "oom\n\noom_kill", "ended by signal 9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.events != "" {
				if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte(tt.events), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			e := tt.exit
			(&jobCgroup{path: dir}).blame(&e)
			if got := e.String(); !strings.Contains(got, tt.want) {
				t.Errorf("the job's end is %q, want %q", got, tt.want)
			}
		})
	}
}
