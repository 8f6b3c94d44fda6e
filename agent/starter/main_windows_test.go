package starter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
)

// The test program is also the jobs of the tests, told apart by a variable, and an agent that is killed.
const (
	jobVar   = "SKUA_TEST_JOB"
	agentVar = "SKUA_TEST_AGENT"
)

func TestMain(m *testing.M) {
	MaybeInit()
	if what := os.Getenv(jobVar); what != "" {
		os.Exit(testJob(strings.Fields(what)))
	}
	if dir := os.Getenv(agentVar); dir != "" {
		os.Exit(testAgent(dir))
	}
	os.Exit(m.Run())
}

// testJob does what a job of the tests is told to.
func testJob(what []string) int {
	switch what[0] {
	case "exit":
		n, _ := strconv.Atoi(what[1])
		fmt.Println("says", os.Getenv("GREETING"), "from", filepath.Base(must(os.Getwd())))
		return n
	case "count": // writes to each named file, from one process each, ever higher numbers
		if len(what) > 2 {
			child := exec.Command(must(os.Executable()))
			child.Env = append(os.Environ(), jobVar+"=count "+strings.Join(what[2:], " "))
			if err := child.Start(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		f, err := os.OpenFile(what[1], os.O_RDWR|os.O_CREATE, 0o600)
		for i := 1; err == nil; i++ {
			// In place: a job may stand still at any moment, and the file is to have a number even then.
			_, err = f.WriteAt(fmt.Appendf(nil, "%10d %10d\n", os.Getpid(), i), 0)
			time.Sleep(time.Millisecond)
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	case "save": // saves its state when it is told to leave
		told := make(chan os.Signal, 1)
		signal.Notify(told, os.Interrupt)
		if err := os.WriteFile("ready", nil, 0o600); err != nil {
			return 1
		}
		<-told
		if err := os.WriteFile("saved", []byte("step 17"), 0o600); err != nil {
			return 1
		}
		return 85
	case "eat":
		mb, _ := strconv.Atoi(what[1])
		eaten := bytes.Repeat([]byte{1}, mb<<20)
		if err := os.WriteFile("ready", nil, 0o600); err != nil {
			return 1
		}
		for n := 0; ; n++ {
			eaten[n%len(eaten)]++
		}
	}
	return 99
}

// testAgent opens a claim, runs a job in it and says so. It waits to be killed.
func testAgent(dir string) int {
	s, err := New(Config{Dir: dir})
	if err == nil {
		var i *Init
		i, err = s.Open(context.Background(), ClaimSpec{Claim: "adopted", Lease: time.Hour, Network: NetHost})
		if err == nil {
			if err = copySelf(filepath.Join(i.Scratch(), "job.exe")); err == nil {
				err = i.Run(context.Background(), testSpec(i, "count n"))
			}
			// Killed earlier than that, it would leave a job that stands still before it has counted at all.
			path, deadline := filepath.Join(i.Scratch(), "n"), time.Now().Add(time.Minute)
			for n := 0; err == nil && n == 0; _, n = counter(path) {
				if time.Now().After(deadline) {
					err = errors.New("the job does not count")
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("runs")
	select {}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newStarter(t *testing.T) *Starter {
	t.Helper()
	s, err := New(Config{Dir: filepath.Join(t.TempDir(), "claims"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, s *Starter, spec ClaimSpec) *Init {
	t.Helper()
	spec.Claim = job.ClaimID(strings.ToLower(t.Name()))
	spec.Network = NetHost
	if spec.Lease == 0 {
		spec.Lease = time.Hour
	}
	i, err := s.Open(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(s.dir(spec.Claim), stateName, logName))
			t.Logf("the runner says: %s", b)
		}
		i.Close()
		if err := s.Remove(spec.Claim); err != nil {
			t.Error(err)
		}
	})
	if err := copySelf(filepath.Join(i.Scratch(), "job.exe")); err != nil {
		t.Fatal(err)
	}
	return i
}

func testSpec(i *Init, what string) JobSpec {
	return JobSpec{
		Job: job.ID{Cluster: 1}, Argv: []string{filepath.Join(i.Scratch(), "job.exe")}, Env: []string{jobVar + "=" + what, "GREETING=hello"},
		Stdout: "out", Stderr: "err",
	}
}

func run(t *testing.T, i *Init, what string) {
	t.Helper()
	if err := i.Run(t.Context(), testSpec(i, what)); err != nil {
		t.Fatal(err)
	}
}

func awaitExit(t *testing.T, i *Init) Exit {
	t.Helper()
	select {
	case <-i.Done():
	case <-time.After(time.Minute):
		t.Fatal("the job has not ended")
	}
	return i.Exit()
}

// counter reads a file of a counting job: its process and its number.
func counter(path string) (pid uint32, n int) {
	b, err := os.ReadFile(path)
	if err == nil {
		_, err = fmt.Sscan(string(b), &pid, &n)
	}
	if err != nil {
		return 0, 0 // not there yet, or just being written
	}
	return pid, n
}

// awaitCount waits until a counter is beyond a number.
func awaitCount(t *testing.T, path string, beyond int) (pid uint32, n int) {
	t.Helper()
	awaitThat(t, "the job goes on", func() bool {
		pid, n = counter(path)
		return n > beyond
	})
	return pid, n
}

func awaitThat(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// standsStill says whether none of the counters moves for a while in which it would by far.
func standsStill(paths ...string) bool {
	read := func() (all []string) {
		for _, p := range paths {
			b, _ := os.ReadFile(p)
			all = append(all, string(b))
		}
		return all
	}
	before := read()
	time.Sleep(300 * time.Millisecond)
	return strings.Join(before, "") == strings.Join(read(), "")
}
