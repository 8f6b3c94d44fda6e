package starter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/job"
)

func TestMain(m *testing.M) {
	MaybeInit()
	switch {
	case filepath.Base(os.Args[0]) == counterName:
		os.Exit(counterMain())
	case os.Getenv(agentEnv) != "":
		os.Exit(agentMain(os.Getenv(agentEnv)))
	}
	os.Exit(m.Run())
}

// testJob is the job of most tests.
var testJob = job.ID{Cluster: 12, Proc: 3}

// patience bounds every wait of a test. Only a failing test waits that long.
const patience = 2 * time.Minute

// newStarter returns a starter of its own, which leaves nothing behind.
func newStarter(t testing.TB, change func(*Config)) *Starter {
	t.Helper()
	cfg := Config{
		Dir: filepath.Join(t.TempDir(), "claims"),
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		claims, err := s.Claims()
		if err != nil {
			t.Error(err)
		}
		for _, c := range claims {
			if err := s.Remove(c); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// capable skips the test when this machine cannot run jobs.
func capable(t testing.TB) {
	t.Helper()
	if c := capabilities(); !c.Sandbox {
		t.Skip("jobs cannot be run here: " + c.SandboxWhy)
	}
}

// capableOfCheckpoints skips the test on a machine without criu. On one with it a self test that fails is a
// failure: it would hide those of all tests that need it.
func capableOfCheckpoints(t testing.TB) {
	t.Helper()
	capable(t)
	switch c := capabilities(); {
	case c.Checkpoint:
	case c.CriuPath == "":
		t.Skip("jobs cannot be checkpointed here: " + c.CheckpointWhy)
	default:
		t.Fatal("there is criu, and the self test fails: " + c.CheckpointWhy)
	}
}

// capabilities runs the self test once for all tests.
var capabilities = sync.OnceValue(func() Capabilities {
	dir, err := os.MkdirTemp("", "skua-starter-")
	if err != nil {
		return Capabilities{SandboxWhy: err.Error()}
	}
	defer os.RemoveAll(dir)
	s, err := New(Config{Dir: dir})
	if err != nil {
		return Capabilities{SandboxWhy: err.Error()}
	}
	return s.Capabilities(context.Background())
})

// eachFreezer runs a test with the cgroup freezer, where there is one, and with signals.
func eachFreezer(t *testing.T, test func(t *testing.T, s *Starter)) {
	capable(t)
	t.Run("cgroup2", func(t *testing.T) {
		if findCgroupBases("") == nil {
			t.Skip("there is no cgroup v2 that can be written")
		}
		test(t, newStarter(t, nil))
	})
	t.Run("signal", func(t *testing.T) {
		test(t, newStarter(t, func(c *Config) { c.CgroupBase = "none" }))
	})
}

func open(t testing.TB, s *Starter, claim job.ClaimID) *Init {
	t.Helper()
	i, err := s.Open(t.Context(), ClaimSpec{Claim: claim, Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(s.dir(claim), stateName, logName))
			t.Logf("log of the init:\n%s", b)
		}
		i.Close()
	})
	return i
}

func run(t testing.TB, i *Init, spec JobSpec) {
	t.Helper()
	if spec.Job == (job.ID{}) {
		spec.Job = testJob
	}
	if err := i.Run(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
}

// runShell runs a script with its output in the file out.
func runShell(t testing.TB, i *Init, script string) {
	t.Helper()
	run(t, i, JobSpec{Argv: []string{"/bin/sh", "-c", script}, Stdout: "out", Stderr: "out"})
}

func awaitExit(t testing.TB, i *Init) Exit {
	t.Helper()
	select {
	case <-i.Done():
	case <-time.After(patience):
		t.Fatal("the job has not ended")
	}
	return i.Exit()
}

// await polls until ok holds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", patience, what)
		}
		time.Sleep(2 * time.Millisecond) // between looks, not in place of one
	}
}

// readScratch returns a file of the job, "" when there is none yet.
func readScratch(t testing.TB, i *Init, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(i.Scratch(), name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func writeScratch(t testing.TB, i *Init, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(i.Scratch(), name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// initPid returns the init's pid as the test sees it.
func initPid(t testing.TB, i *Init) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", i.pidfd))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the pidfd has no pid")
	return 0
}

// jobPids lists the processes in the namespace of an init, itself excepted, by their pids outside.
func jobPids(t testing.TB, init int) []int {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
	if err != nil {
		return nil
	}
	var found []int
	for _, pid := range pids() {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && got == ns && pid != init {
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return found
}

// threads counts the threads of processes, and how many of them stand still: stopped by a signal or
// by the freezer of cgroups, which shows only in where they wait.
func threads(t testing.TB, pids []int) (all, still int) {
	t.Helper()
	for _, pid := range pids {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, f := range stats {
			st, err := readStat(f)
			if err != nil {
				continue
			}
			all++
			wchan, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "wchan"))
			if strings.ContainsRune("TtZXD", rune(st.state)) ||
				slices.Contains([]string{"do_freezer_trap", "get_signal"}, string(wchan)) {
				still++
			}
		}
	}
	return all, still
}

// standsStill watches a file of the job for a while, to see that it does not grow.
func standsStill(t testing.TB, i *Init, name string) bool {
	t.Helper()
	before := readScratch(t, i, name)
	for until := time.Now().Add(150 * time.Millisecond); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if readScratch(t, i, name) != before {
			return false
		}
	}
	return true
}

// stopped checks that every thread behind the init has stopped, of which there are at least some. The
// kernel counts a thread as frozen shortly before it sleeps, so a second look is allowed.
func stopped(t testing.TB, init, some int) {
	t.Helper()
	await(t, "every thread has stopped", func() bool {
		all, still := threads(t, jobPids(t, init))
		return all >= some && still == all
	})
}

// frozen reports whether every thread behind the init stands still, and keeps doing so. A single look
// may meet a job that only waits for something.
func frozen(t testing.TB, i *Init, init int, name string) bool {
	t.Helper()
	look := func() bool {
		all, still := threads(t, jobPids(t, init))
		return all > 0 && still == all
	}
	return look() && standsStill(t, i, name) && look()
}

// grows waits until a file of the job has become longer.
func grows(t testing.TB, i *Init, name string) {
	t.Helper()
	n := len(readScratch(t, i, name))
	await(t, name+" grows", func() bool { return len(readScratch(t, i, name)) > n })
}

// A counting job draws a nonce, writes "nonce step" lines to the file out, and ends with countExit
// when there is a file stop.
const countExit = 7

// counterName is the Go version of it: this test's program, with threads.
const counterName = "skua-counter"

const counterShell = `
n=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
i=0
while [ ! -e stop ]; do i=$((i+1)); echo $n $i; sleep 0.01; done
exit 7
`

const counterPython = `
import os, sys, threading, time
def spin():
    while True: time.sleep(0.003)
for _ in range(3): threading.Thread(target=spin, daemon=True).start()
nonce, i = os.urandom(8).hex(), 0
while not os.path.exists("stop"):
    i += 1
    print(nonce, i, flush=True)
    time.sleep(0.005)
os._exit(7)
`

const counterC = `
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
	unsigned long long nonce; int f = open("/dev/urandom", O_RDONLY);
	if (read(f, &nonce, sizeof nonce) != sizeof nonce) return 1;
	for (long i = 1; access("stop", F_OK) != 0; i++) { printf("%llx %ld\n", nonce, i); fflush(stdout); usleep(5000); }
	return 7;
}
`

func counterMain() int {
	for range 4 {
		go func() {
			for {
				time.Sleep(3 * time.Millisecond)
			}
		}()
	}
	nonce := time.Now().UnixNano()
	for n := 1; ; n++ {
		if _, err := os.Stat("stop"); err == nil {
			return countExit
		}
		fmt.Println(nonce, n)
		time.Sleep(5 * time.Millisecond)
	}
}

// counter prepares a counting job in the claim's scratch and describes it.
func counter(t testing.TB, i *Init, kind string) JobSpec {
	t.Helper()
	spec := JobSpec{Job: testJob, Stdout: "out", Stderr: "err"}
	switch kind {
	case "sh":
		spec.Argv = []string{"sh", "-c", counterShell}
	case "python3":
		if _, err := os.Stat("/usr/bin/python3"); err != nil {
			t.Skip("there is no python3")
		}
		spec.Argv = []string{"python3", "-c", counterPython}
	case "go":
		if err := copySelf(filepath.Join(i.Scratch(), counterName)); err != nil {
			t.Fatal(err)
		}
		spec.Argv = []string{"./" + counterName}
	case "c":
		src := filepath.Join(t.TempDir(), "counter.c")
		if err := os.WriteFile(src, []byte(counterC), 0o644); err != nil {
			t.Fatal(err)
		}
		cc, err := exec.LookPath("cc")
		if err != nil {
			t.Skip("there is no C compiler")
		}
		if out, err := exec.Command(cc, "-O", "-o", filepath.Join(i.Scratch(), "counter"), src).CombinedOutput(); err != nil {
			t.Fatalf("compile: %v\n%s", err, out)
		}
		spec.Argv = []string{"./counter"}
	default:
		t.Fatalf("no counter in %q", kind)
	}
	return spec
}

// counted checks the output of a counting job: one nonce, no step missing, none twice. It returns the
// number of steps.
func counted(t testing.TB, i *Init) int {
	t.Helper()
	var nonce string
	steps := 0
	sc := bufio.NewScanner(strings.NewReader(readScratch(t, i, "out")))
	for sc.Scan() {
		var n string
		var step int
		if _, err := fmt.Sscan(sc.Text(), &n, &step); err != nil {
			t.Fatalf("line %d of the output is %q", steps+1, sc.Text())
		}
		if nonce == "" {
			nonce = n
		}
		steps++
		if n != nonce || step != steps {
			t.Fatalf("line %d of the output is %q, want nonce %s and step %d", steps, sc.Text(), nonce, steps)
		}
	}
	return steps
}

// agentEnv makes this program an agent that opens a claim below the directory named by its value,
// runs a counting job there, and then does nothing but live.
const agentEnv = "SKUA_TEST_AGENT"

const agentClaim job.ClaimID = "orphan"

func agentMain(arg string) int {
	base, dir, _ := strings.Cut(arg, ":")
	err := func() error {
		s, err := New(Config{Dir: dir, CgroupBase: base})
		if err != nil {
			return err
		}
		i, err := s.Open(context.Background(), ClaimSpec{Claim: agentClaim, Lease: time.Hour})
		if err != nil {
			return err
		}
		return i.Run(context.Background(), JobSpec{Job: testJob, Argv: []string{"sh", "-c", counterShell}, Stdout: "out"})
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	select {}
}

// startAgent starts such an agent and returns when its job runs.
func startAgent(t *testing.T, s *Starter) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), agentEnv+"="+s.cfg.CgroupBase+":"+s.cfg.Dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the agent says %q", line)
	}
	return cmd
}

// kill ends an agent as a crash would.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// contains reports whether a job's output has a line.
func contains(t testing.TB, i *Init, line string) bool {
	return slices.ContainsFunc(bytes.Split([]byte(readScratch(t, i, "out")), []byte("\n")), func(b []byte) bool {
		return string(b) == line
	})
}

func withTimeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
