package starter

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An image that takes long gets more of the processors, until it counts as much as others.
func TestSavingWeight(t *testing.T) {
	var before weight
	for since := time.Duration(0); since <= time.Duration(len(saving))*savingStep; since += savingStep {
		w := savingWeight(since)
		if w.modern <= before.modern && before != equal || w.legacy <= before.legacy && before != equal {
			t.Errorf("after %v the weight is %v, before it was %v", since, w, before)
		}
		if almost := savingWeight(since + savingStep - 1); almost != w {
			t.Errorf("within one step the weight becomes %v of %v", almost, w)
		}
		before = w
	}
	if before != equal {
		t.Errorf("in the end the weight is %v", before)
	}
}

// CRIU works in a cgroup with little weight while it makes an image, and no process of the job's does.
func TestImageIsMadeGently(t *testing.T) {
	capableOfCheckpoints(t)
	s := newStarter(t, nil)
	if s.cgroups == nil || os.Getuid() != 0 {
		t.Skip("without a cgroup or privileges CRIU is where the agent is")
	}
	i := open(t, s, "gently")
	dir := i.cg.savingDir()
	if dir == "" {
		t.Skip("processors are not shared out by weights")
	}
	run(t, i, JobSpec{Argv: []string{"/usr/bin/perl", "-e", `$| = 1; $held = "x" x 200e6; print "ready\n"; sleep 1000`}, Stdout: "out"})
	grows(t, i, "out")
	seen, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(seen)
		for {
			if pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err == nil && len(pids) > 0 {
				seen <- string(pids)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	_, err := i.Checkpoint(t.Context(), true)
	close(done)
	if err != nil {
		t.Fatal(err)
	}
	pids, ok := <-seen
	if !ok {
		t.Error("CRIU was never in its cgroup")
	}
	for pid := range strings.FieldsSeq(pids) {
		if n, _ := strconv.Atoi(pid); slices.Contains(jobPids(t, initPid(t, i)), n) {
			t.Errorf("process %s of the job is in CRIU's cgroup", pid)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CRIU's cgroup is left behind: %v", err)
	}
	if err := i.Thaw(); err != nil {
		t.Fatal(err)
	}
}

// An agent that does not wait for an image to the end does not wait for CRIU either, and leaves its cgroup to the end of
// the claim.
func TestSavingIsLeftToTheClaimsEnd(t *testing.T) {
	s := newStarter(t, nil)
	if s.cgroups == nil || os.Getuid() != 0 {
		t.Skip("without a cgroup or privileges CRIU is where the agent is")
	}
	i := open(t, s, "left")
	dir := i.cg.savingDir()
	if dir == "" {
		t.Skip("processors are not shared out by weights")
	}
	calm := i.cg.saveGently(initPid(t, i))
	criu := exec.Command("sleep", "1000")
	if err := criu.Start(); err != nil {
		t.Fatal(err)
	}
	defer criu.Wait()
	defer criu.Process.Kill()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(criu.Process.Pid), 10), 0); err != nil {
		t.Fatal(err)
	}
	calm()
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the cgroup in which CRIU still works is gone: %v", err)
	}
	criu.Process.Kill()
	criu.Wait()
	if err := s.Remove(i.Claim()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CRIU's cgroup is left behind: %v", err)
	}
}
