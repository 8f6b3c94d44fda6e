package starter

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"skua/internal/job"
)

func TestJobRunsAndEnds(t *testing.T) {
	i := open(t, newStarter(t), ClaimSpec{})
	for n, want := range []int{7, 0} { // the second in a claim that was used
		run(t, i, "exit "+string(rune('0'+want)))
		e := awaitExit(t, i)
		if e.Code != want || e.Signal != 0 || e.Err != "" || e.Usage.Wall <= 0 {
			t.Errorf("job %d ended with %+v, want code %d", n, e, want)
		}
		out, err := os.ReadFile(filepath.Join(i.Scratch(), "out"))
		if got := strings.TrimSpace(string(out)); got != "says hello from scratch" || err != nil {
			t.Errorf("its output is %q (%v)", got, err)
		}
		if err := i.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(i.Scratch(), "out")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the next job finds the output of the one before (%v)", err)
		}
		if err := copySelf(filepath.Join(i.Scratch(), "job.exe")); err != nil {
			t.Fatal(err)
		}
	}
	spec := testSpec(i, "")
	spec.Argv = []string{"no-such-program"}
	if err := i.Run(t.Context(), spec); err == nil || MachineFault(err) {
		t.Errorf("a program that is not there gave %v", err)
	}
}

func TestFreezeStopsTheWholeTree(t *testing.T) {
	i := open(t, newStarter(t), ClaimSpec{})
	run(t, i, "count a b c")
	var paths []string
	for _, name := range []string{"a", "b", "c"} {
		paths = append(paths, filepath.Join(i.Scratch(), name))
		awaitCount(t, paths[len(paths)-1], 0)
	}
	for range 3 {
		start := time.Now()
		if err := i.Freeze(); err != nil {
			t.Fatal(err)
		}
		t.Logf("three processes frozen in %v", time.Since(start))
		if !standsStill(paths...) {
			t.Fatal("a frozen job goes on")
		}
		if err := i.Thaw(); err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			_, n := counter(p)
			awaitCount(t, p, n)
		}
	}
	t.Log("figure: frozen_and_thawed=true")
}

func TestCool(t *testing.T) {
	i := open(t, newStarter(t), ClaimSpec{})
	run(t, i, "count a b")
	var paths []string
	for _, name := range []string{"a", "b"} {
		paths = append(paths, filepath.Join(i.Scratch(), name))
		awaitCount(t, paths[len(paths)-1], 0)
	}
	if err := i.Freeze(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := i.Cool(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("two processes cooled in %v", time.Since(start))
	if !standsStill(paths...) {
		t.Error("a job that was cooled goes on")
	}
	if err := i.Thaw(); err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		_, n := counter(p)
		awaitCount(t, p, n)
	}
	t.Log("figure: cooled=true")
}

func TestKillLeavesNothing(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		s := newStarter(t)
		i := open(t, s, ClaimSpec{})
		run(t, i, "count a b")
		var pids []uint32
		for _, name := range []string{"a", "b"} {
			pid, _ := awaitCount(t, filepath.Join(i.Scratch(), name), 0)
			pids = append(pids, pid)
		}
		if frozen {
			if err := i.Freeze(); err != nil {
				t.Fatal(err)
			}
		}
		if err := i.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("frozen %v: process %d lives on", frozen, pid)
			}
		}
		if e := awaitExit(t, i); e.Err == "" {
			t.Errorf("the job that was killed ended with %+v", e)
		}
		i.Close()
		if err := s.Remove(i.Claim()); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("figure: tree_killed=true")
}

// alive says whether a process runs.
func alive(pid uint32) bool {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, pid)
	if err != nil {
		return false
	}
	defer windows.CloseHandle(h)
	return !over(h, 0)
}

// What a job leaves behind ends with its first process.
func TestNothingOutlivesTheFirstProcess(t *testing.T) {
	i := open(t, newStarter(t), ClaimSpec{})
	run(t, i, "count a b")
	first, _ := awaitCount(t, filepath.Join(i.Scratch(), "a"), 0)
	child, _ := awaitCount(t, filepath.Join(i.Scratch(), "b"), 0)
	h, err := windows.OpenProcess(windows.PROCESS_TERMINATE, false, first)
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	if err := windows.TerminateProcess(h, 3); err != nil {
		t.Fatal(err)
	}
	if e := awaitExit(t, i); e.Code != 3 {
		t.Errorf("it ended with %+v", e)
	}
	if alive(child) {
		t.Error("its child lives on")
	}
}

func TestRunnerKeepsTheLease(t *testing.T) {
	i := open(t, newStarter(t), ClaimSpec{})
	run(t, i, "count n")
	path := filepath.Join(i.Scratch(), "n")
	awaitCount(t, path, 0)
	if err := i.Grant(time.Second); err != nil {
		t.Fatal(err)
	}
	awaitThat(t, "the lease ends", func() bool { return errors.Is(i.Thaw(), ErrLeaseOver) })
	if !standsStill(path) {
		t.Error("without a lease the job goes on")
	}
	if err := i.Grant(time.Hour); err != nil {
		t.Fatal(err)
	}
	_, n := counter(path)
	awaitCount(t, path, n)
}

func TestSelfCheckpoint(t *testing.T) {
	i := open(t, newStarter(t), ClaimSpec{})
	run(t, i, "save")
	awaitThat(t, "the job begins", func() bool { _, err := os.Stat(filepath.Join(i.Scratch(), "ready")); return err == nil })
	if err := i.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := i.Signal(15); err != nil { // heard when it goes on
		t.Fatal(err)
	}
	if _, running := i.Job(); !running {
		t.Fatal("a frozen job has ended")
	}
	if err := i.Thaw(); err != nil {
		t.Fatal(err)
	}
	if e := awaitExit(t, i); e.Code != 85 {
		t.Errorf("it ended with %+v, want code 85", e)
	}
	if b, err := os.ReadFile(filepath.Join(i.Scratch(), "saved")); string(b) != "step 17" {
		t.Errorf("it saved %q (%v)", b, err)
	}
	if _, err := i.Checkpoint(t.Context(), false); err == nil || !strings.Contains(err.Error(), "save their own state") {
		t.Errorf("an image gave %v", err)
	}
	t.Log("figure: self_checkpoint=true")
}

func TestAdoptedByAnotherAgent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "claims")
	agent := exec.Command(must(os.Executable()))
	agent.Env = append(os.Environ(), agentVar+"="+dir)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	killed := agent.Process.Kill()
	_ = agent.Wait()
	if strings.TrimSpace(line) != "runs" || err != nil || killed != nil {
		t.Fatalf("the first agent said %q (%v, %v)", line, err, killed)
	}
	const claim = job.ClaimID("adopted")
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(claim); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(s.dir(claim), scratchName, "n")
	awaitThat(t, "the job freezes without an agent", func() bool { _, n := counter(path); return n > 0 && standsStill(path) })
	pid, n := counter(path)

	i, err := s.Adopt(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	if id, running := i.Job(); !running || id != (job.ID{Cluster: 1}) || i.Frozen() {
		t.Errorf("adopted: job %v, running %v, frozen %v", id, running, i.Frozen())
	}
	if again, _ := awaitCount(t, path, n); again != pid {
		t.Errorf("process %d goes on in place of %d", again, pid)
	}
	t.Log("figure: adopted=true")

	// The one who holds the claim keeps it.
	if _, err := s.Adopt(t.Context(), claim); !errors.Is(err, ErrBusy) {
		t.Errorf("a second agent got %v", err)
	}
	i.Close()
	awaitThat(t, "the next agent gets the claim", func() bool {
		next, err := s.Adopt(t.Context(), claim)
		if err != nil {
			return false
		}
		defer next.Close()
		if err := next.Kill(); err != nil {
			t.Error(err)
		}
		return true
	})
}

func TestGoneRunner(t *testing.T) {
	s := newStarter(t)
	if _, err := s.Adopt(t.Context(), "never-there"); !errors.Is(err, ErrGone) {
		t.Errorf("a claim that never was gave %v", err)
	}
	i := open(t, s, ClaimSpec{})
	run(t, i, "exit 4")
	awaitExit(t, i)
	i.Close()
	if err := i.Kill(); err != nil {
		t.Fatal(err)
	}
	again, err := s.Adopt(t.Context(), i.Claim())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if e := awaitExit(t, again); e.Code != 4 {
		t.Errorf("the job that has ended before is said to have ended with %+v", e)
	}
}

func TestMemoryIsSeen(t *testing.T) {
	i := open(t, newStarter(t), ClaimSpec{Limits: Limits{Memory: 1 << 30}})
	run(t, i, "eat 64")
	awaitThat(t, "the job has its memory", func() bool { _, err := os.Stat(filepath.Join(i.Scratch(), "ready")); return err == nil })
	r, err := i.Look(t.Context(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if r.Memory < 64<<20 || r.Used.MaxRSS < 64<<20 || r.Memory > 512<<20 {
		t.Errorf("a job of 64 MiB has %d bytes, at most %d", r.Memory, r.Used.MaxRSS)
	}
	// Wine does not say how much processor time another process has used.
	t.Logf("figure: cpu_counted=%v", r.Used.User+r.Used.System > 0)
}

// Some systems that call themselves Windows do not enforce everything; which, is said in docs/windows.md.
func TestWhatTheSystemEnforces(t *testing.T) {
	s := newStarter(t)
	r, err := s.probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.System || !r.InJob {
		t.Errorf("jobs are %+v", r)
	}
	t.Logf("jobs are %+v: %v", r, r.verdict())
	can := s.Capabilities(t.Context())
	if can.Sandbox != (r.verdict() == nil) || can.Checkpoint || can.CheckpointWhy == "" {
		t.Errorf("%+v does not follow from %+v", can, r)
	}
	if claims, err := s.Claims(); err != nil || len(claims) != 0 {
		t.Errorf("the self test left claims %v (%v)", claims, err)
	}

	i := open(t, s, ClaimSpec{Limits: Limits{Memory: 64 << 20}}) // 128 MiB by the job object
	run(t, i, "eat 512")
	ready := filepath.Join(i.Scratch(), "ready")
	enforced := false
	awaitThat(t, "the job has its memory or ends", func() bool {
		select {
		case <-i.Done():
			enforced = true
			return true
		default:
		}
		_, err := os.Stat(ready)
		return err == nil
	})
	t.Logf("figure: memory_cap=%v", enforced)
	t.Logf("figure: restricted=%v", r.Restricted)
	t.Logf("figure: files_kept=%v", !r.ReadsAgents && !r.WritesAgents)
}

// The job of the self test tries each of the agent's files: that one is closed says nothing about another.
func TestSelfTestTriesEachFile(t *testing.T) {
	dir := t.TempDir()
	missing, readable := filepath.Join(dir, "none"), filepath.Join(dir, "identity.key")
	if err := os.WriteFile(readable, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		secrets []string
		reads   bool
	}{
		{[]string{missing}, false},
		{[]string{missing, readable}, true},
		{[]string{readable, missing}, true},
	} {
		r, err := look(filepath.Join(dir, "no", "intruder"), tt.secrets)
		if err != nil || r.ReadsAgents != tt.reads || r.WritesAgents {
			t.Errorf("of %q it reports %+v (%v), want reads_agents %v", tt.secrets, r, err, tt.reads)
		}
	}
}
