package starter

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/agent/checkpoint"
	"skua/internal/job"
)

// move takes a claim's job to another claim, as an upload and a download would: the files keep the
// ids of the machine they come from.
func move(t *testing.T, from *Init, s *Starter, claim job.ClaimID) *Init {
	t.Helper()
	grows(t, from, "out")
	stats, err := from.Checkpoint(t.Context(), false)
	if err != nil {
		b, _ := os.ReadFile(filepath.Join(from.ImageDir(), "dump.log"))
		t.Fatalf("%v\n%s", err, b)
	}
	if !standsStill(t, from, "out") {
		t.Error("the job writes after its checkpoint")
	}
	to := open(t, s, claim)
	carry(t, from, to)
	start := time.Now()
	if err := to.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
		b, _ := os.ReadFile(filepath.Join(to.ImageDir(), "restore.log"))
		t.Fatalf("%v\n%s", err, b)
	}
	t.Logf("dump %v, %d kB; restore %v", stats.Took.Round(time.Millisecond), stats.Bytes>>10, time.Since(start).Round(time.Millisecond))
	return to
}

func carry(t *testing.T, from, to *Init) {
	t.Helper()
	for src, dst := range map[string]string{from.Scratch(): to.Scratch(), from.ImageDir(): to.ImageDir()} {
		if out, err := exec.Command("cp", "-a", src+"/.", dst).CombinedOutput(); err != nil {
			t.Fatalf("copy: %v\n%s", err, out)
		}
	}
}

// An init finishes a dump that its agent does not wait for, and the next agent learns what came of it.
func TestDumpOutlivesItsAgent(t *testing.T) {
	capableOfCheckpoints(t)
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "leaves")
		run(t, i, counter(t, i, "sh"))
		grows(t, i, "out")
		i.send(&message{ID: 1000, Op: opCheckpoint, TimeoutMS: checkpoint.DefaultTimeout.Milliseconds()})
		await(t, "the dump has begun", func() bool { files, _ := os.ReadDir(i.ImageDir()); return len(files) > 0 })
		i.Close()
		j, err := s.Adopt(t.Context(), "leaves")
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if err := j.Settle(withTimeout(t, patience)); err != nil {
			t.Fatal(err)
		}
		if _, running := j.Job(); running {
			t.Error("the next agent believes that the job runs")
		}
		if _, err := checkpoint.ReadMeta(j.ImageDir()); err != nil {
			t.Error(err)
		}
		if err := j.Kill(); err != nil { // as it ends by itself when no agent comes
			t.Fatal(err)
		}
		if _, err := s.Adopt(t.Context(), "leaves"); !errors.Is(err, ErrGone) {
			t.Errorf("adopting what is left gives %v, want ErrGone", err)
		}
		left, err := s.Leftover("leaves")
		if err != nil {
			t.Fatal(err)
		}
		defer left.Close()
		if e := awaitExit(t, left); e.Err == "" {
			t.Errorf("the job seems to have ended by itself: %+v", e)
		}
		if err := left.Settle(withTimeout(t, patience)); !errors.Is(err, ErrGone) {
			t.Errorf("with the init gone: %v, want ErrGone", err)
		}
		rec, err := readRecord(s.dir("leaves"))
		if err != nil {
			t.Fatal(err)
		}
		rec.Boot = "before"
		if err := writeJSON(filepath.Join(s.dir("leaves"), claimFile), rec); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Leftover("leaves"); !errors.Is(err, ErrGone) {
			t.Errorf("after a restart of the machine: %v, want ErrGone", err)
		}
	})
}

// A job moves from machine A to B and back, and never notices.
func TestMigrate(t *testing.T) {
	capableOfCheckpoints(t)
	for _, freezer := range []string{"", "none"} {
		for _, kind := range []string{"sh", "python3", "c", "go"} {
			name := kind
			if freezer != "" {
				name += " frozen by signals"
			}
			t.Run(name, func(t *testing.T) {
				a := newStarter(t, func(c *Config) { c.CgroupBase = freezer })
				b := newStarter(t, func(c *Config) { c.CgroupBase, c.UIDBase = freezer, DefaultUIDBase+idCount })
				first := open(t, a, "first")
				run(t, first, counter(t, first, kind))
				second := move(t, first, b, "second")
				third := move(t, second, a, "third")
				checkHumble(t, jobPids(t, initPid(t, third)))
				if err := third.Freeze(); err != nil { // it is in the cgroup again
					t.Fatal(err)
				}
				stopped(t, initPid(t, third), 1)
				if err := third.Thaw(); err != nil {
					t.Fatal(err)
				}
				grows(t, third, "out")
				writeScratch(t, third, "stop", "")
				e := awaitExit(t, third)
				if e.Code != countExit || e.Signal != 0 || e.Err != "" {
					t.Errorf("the job ended with %v", e)
				}
				if e.Usage.Wall <= 0 || e.Usage.User+e.Usage.System <= 0 {
					t.Errorf("its usage is %+v", e.Usage)
				}
				if n := counted(t, third); n < 3 {
					t.Errorf("only %d steps", n)
				}
				if errs := readScratch(t, third, "err"); errs != "" {
					t.Errorf("it complains: %s", errs)
				}
			})
		}
	}
}

// A claim in which a job is being restored can be frozen: that holds nothing up, and the job stands still when it stands.
func TestFrozenWhileRestored(t *testing.T) {
	capableOfCheckpoints(t)
	for _, freezer := range []string{"", "none"} {
		for _, when := range []string{"before", "meanwhile"} {
			t.Run(fmt.Sprintf("%s, freezer %q", when, freezer), func(t *testing.T) {
				s := newStarter(t, func(c *Config) { c.CgroupBase = freezer })
				first := open(t, s, "first")
				run(t, first, counter(t, first, "go"))
				grows(t, first, "out")
				if _, err := first.Checkpoint(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				second := open(t, s, "second")
				carry(t, first, second)
				frozen := make(chan error, 1)
				if when == "before" {
					frozen <- second.Freeze()
				} else {
					go func() { frozen <- second.Freeze() }()
				}
				if err := second.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
					t.Fatal(err)
				}
				if err := <-frozen; err != nil {
					t.Error(err)
				}
				stopped(t, initPid(t, second), 1)
				if !standsStill(t, second, "out") {
					t.Error("the restored job writes")
				}
				if err := second.Thaw(); err != nil {
					t.Fatal(err)
				}
				grows(t, second, "out")
			})
		}
	}
}

// checkHumble looks whether processes still have what start gives a job.
func checkHumble(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		proc := fmt.Sprintf("/proc/%d/", pid)
		oom, err := os.ReadFile(proc + "oom_score_adj")
		if err != nil {
			continue // a short-lived child
		}
		if got := strings.TrimSpace(string(oom)); got != "1000" {
			t.Errorf("after the move the score for the out-of-memory killer is %s", got)
		}
		if raw, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err == nil && 20-raw != jobNice {
			t.Errorf("after the move it has the nice value %d", 20-raw)
		}
		b, err := os.ReadFile(proc + "status")
		if err != nil {
			continue
		}
		for _, want := range []string{"NoNewPrivs:\t1\n", "CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("after the move its status lacks %q", want)
			}
		}
	}
}

// A dump that has no time says so, and what it may have killed did not end by itself.
func TestCheckpointDeadline(t *testing.T) {
	capableOfCheckpoints(t)
	i := open(t, newStarter(t, nil), "deadline")
	run(t, i, counter(t, i, "sh"))
	grows(t, i, "out")
	_, err := i.Checkpoint(withTimeout(t, 3*time.Millisecond), false)
	if err == nil {
		t.Skip("this machine dumps within 3 ms")
	}
	if err := i.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := awaitExit(t, i); e.Err == "" {
		t.Errorf("the job seems to have ended by itself: %+v", e)
	}
}

// What System V keeps for a job is in no image, whether a process is attached to it or not.
func TestCheckpointSystemV(t *testing.T) {
	capableOfCheckpoints(t)
	const holds = `$| = 1; defined shmget(0, 4096, 0600 | 01000) or die $!; while (1) { print "on\n"; select undef, undef, undef, 0.01 }`
	i := open(t, newStarter(t, nil), "sysv")
	run(t, i, JobSpec{Argv: []string{"/usr/bin/perl", "-e", holds}, Stdout: "out", Stderr: "out"})
	grows(t, i, "out")
	_, err := i.Checkpoint(t.Context(), true)
	if err == nil || !strings.HasSuffix(err.Error(), "it holds a System V shared memory segment") {
		t.Errorf("the error is %v", err)
	}
	if err := i.Thaw(); err != nil {
		t.Fatal(err)
	}
	grows(t, i, "out")
}

// Without a cgroup and with one, a job can be dumped while it goes on where it is.
func TestCheckpointAndStay(t *testing.T) {
	capableOfCheckpoints(t)
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "stay")
		run(t, i, counter(t, i, "sh"))
		grows(t, i, "out")
		if _, err := i.Checkpoint(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if !standsStill(t, i, "out") || !i.Frozen() {
			t.Error("the job is not frozen after its checkpoint")
		}
		copied := open(t, s, "copy")
		carry(t, i, copied)
		for _, j := range []*Init{i, copied} {
			if j == i {
				if err := j.Thaw(); err != nil {
					t.Fatal(err)
				}
			} else if err := j.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
				t.Fatal(err)
			}
			grows(t, j, "out")
			writeScratch(t, j, "stop", "")
			if e := awaitExit(t, j); e.Code != countExit {
				t.Errorf("the job ended with %v", e)
			}
			counted(t, j)
		}
	})
}

// A claim is frozen since its checkpoint, and what is restored in it stands still until the agent says
// otherwise.
func TestFrozenClaimResumesItsJobFrozen(t *testing.T) {
	capableOfCheckpoints(t)
	eachFreezer(t, func(t *testing.T, s *Starter) {
		i := open(t, s, "again")
		run(t, i, counter(t, i, "sh"))
		grows(t, i, "out")
		if _, err := i.Checkpoint(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if err := i.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
			t.Fatal(err)
		}
		stopped(t, initPid(t, i), 1) // it had to run to be restored
		if !standsStill(t, i, "out") {
			t.Error("the restored job runs, and its claim is frozen")
		}
		if err := i.Thaw(); err != nil {
			t.Fatal(err)
		}
		grows(t, i, "out")
		writeScratch(t, i, "stop", "")
		if e := awaitExit(t, i); e.Code != countExit {
			t.Errorf("the job ended with %v", e)
		}
		counted(t, i)
	})
}

// Processes whose parents have ended belong to the job, also across a checkpoint.
func TestOrphansMove(t *testing.T) {
	capableOfCheckpoints(t)
	s := newStarter(t, nil)
	i := open(t, s, "first")
	runShell(t, i, `
(setsid sh -c 'while [ ! -e stop ]; do echo tick >> ticks; sleep 0.005; done; echo bye >> ticks' &)
while :; do echo up; sleep 0.005; [ ! -e end ] || exit 3; done`)
	grows(t, i, "ticks")
	j := move(t, i, s, "second")
	grows(t, j, "ticks")
	writeScratch(t, j, "stop", "")
	await(t, "the orphan hears", func() bool { return strings.HasSuffix(readScratch(t, j, "ticks"), "bye\n") })
	writeScratch(t, j, "end", "")
	if e := awaitExit(t, j); e.Code != 3 {
		t.Errorf("the job ended with %v", e)
	}
}

// The job's clocks go on where they stood, on a machine that was started long before or after.
func TestClocksGoOn(t *testing.T) {
	capableOfCheckpoints(t)
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("there is no python3")
	}
	s := newStarter(t, nil)
	i := open(t, s, "first")
	run(t, i, JobSpec{Argv: []string{"python3", "-c", `
import os, time
last = time.monotonic()
while not os.path.exists("stop"):
    now = time.monotonic()
    if not 0 <= now - last < 30: print("jump", now - last, flush=True)
    last = now
    print("tick", flush=True)
    time.sleep(0.005)
`}, Stdout: "out", Stderr: "out"})
	grows(t, i, "out")
	if _, err := i.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	m, err := checkpoint.ReadMeta(i.ImageDir())
	if err != nil {
		t.Fatal(err)
	}
	// The image itself says nothing of clocks. Lying about them makes the job see a jump, and leaves
	// it on a machine that seems to have been up for a thousand hours.
	m.Monotonic, m.Boottime = m.Monotonic+1000*time.Hour, m.Boottime+1000*time.Hour
	text, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	old := open(t, s, "old")
	carry(t, i, old)
	if err := os.WriteFile(filepath.Join(old.ImageDir(), checkpoint.MetaName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := old.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
		t.Fatal(err)
	}
	grows(t, old, "out")
	last := move(t, old, s, "last")
	grows(t, last, "out")
	writeScratch(t, last, "stop", "")
	awaitExit(t, last)
	if out := readScratch(t, last, "out"); strings.Count(out, "jump") != 1 || !strings.Contains(out, "jump 36000") {
		t.Errorf("the job saw %d jumps of its clock, want the one that the test made: %.200q", strings.Count(out, "jump"), out)
	}
}

// A bad image is refused in time, with the reason, and the claim can be used again.
func TestResumeRefuses(t *testing.T) {
	capableOfCheckpoints(t)
	s := newStarter(t, nil)
	i := open(t, s, "first")
	writeScratch(t, i, "in", "input\n")
	spec := counter(t, i, "sh")
	spec.Stdin = "in"
	run(t, i, spec)
	grows(t, i, "out")
	if _, err := i.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	j := open(t, s, "second")
	if err := j.Resume(t.Context(), JobSpec{Job: testJob}); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("without an image: %v", err)
	}
	for _, tt := range []struct {
		name, want string
		spoil      func() error
	}{
		{"file of another size", "size", func() error { return os.WriteFile(filepath.Join(j.Scratch(), "in"), []byte("x"), 0o644) }},
		{"file missing", "", func() error { return os.Remove(filepath.Join(j.Scratch(), "out")) }},
		{"image file missing", "", func() error { return os.Remove(filepath.Join(j.ImageDir(), "pstree.img")) }},
		{"image file cut", "", func() error { return os.Truncate(filepath.Join(j.ImageDir(), "files.img"), 20) }},
		{"nonsense for a description", "image description", func() error {
			return os.WriteFile(filepath.Join(j.ImageDir(), checkpoint.MetaName), []byte("{}"), 0o600)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			carry(t, i, j)
			if err := tt.spoil(); err != nil {
				t.Fatal(err)
			}
			err := j.Resume(t.Context(), JobSpec{Job: testJob})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			t.Log(err)
		})
	}
	carry(t, i, j)
	if err := j.Resume(t.Context(), JobSpec{Job: testJob}); err != nil {
		t.Fatal(err)
	}
	grows(t, j, "out")
	writeScratch(t, j, "stop", "")
	if e := awaitExit(t, j); e.Code != countExit {
		t.Errorf("the good image ended with %v", e)
	}
	counted(t, j)
}

// A truncated pages file makes CRIU wait for ever; the deadline ends it and what it has started.
func TestResumeDeadline(t *testing.T) {
	capableOfCheckpoints(t)
	s := newStarter(t, nil)
	i := open(t, s, "first")
	run(t, i, counter(t, i, "python3"))
	grows(t, i, "out")
	if _, err := i.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	j := open(t, s, "second")
	carry(t, i, j)
	pages, err := filepath.Glob(filepath.Join(j.ImageDir(), "pages-*.img"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	if err := os.Truncate(pages[0], 4096); err != nil {
		t.Fatal(err)
	}
	o := make(chan error, 1)
	go func() { o <- j.Resume(withTimeout(t, time.Second), JobSpec{Job: testJob}) }()
	select {
	case err := <-o:
		if err == nil {
			t.Fatal("a truncated image was restored")
		}
		t.Log(err)
	case <-time.After(patience):
		t.Fatal("the restore of a truncated image does not end")
	}
	await(t, "nothing is left of the restore", func() bool { return len(jobPids(t, initPid(t, j))) == 0 })
	await(t, "the claim can be used again", func() bool {
		err := j.Run(t.Context(), JobSpec{Job: testJob, Argv: []string{"true"}})
		if err != nil && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	if e := awaitExit(t, j); e.Code != 0 {
		t.Errorf("it ended with %v", e)
	}
}

func BenchmarkCheckpoint(b *testing.B) {
	capableOfCheckpoints(b)
	s := newStarter(b, nil)
	i := open(b, s, "bench")
	run(b, i, counter(b, i, "python3"))
	grows(b, i, "out")
	for b.Loop() {
		if _, err := i.Checkpoint(b.Context(), false); err != nil {
			b.Fatal(err)
		}
		if err := i.Resume(b.Context(), JobSpec{Job: testJob}); err != nil {
			b.Fatal(err)
		}
	}
}

// An image may take longer to come than the lease lasts of which the init was told. What is left of it by then comes with
// the order to resume.
func TestResumeAfterLease(t *testing.T) {
	capableOfCheckpoints(t)
	s := newStarter(t, nil)
	from := open(t, s, "from")
	runShell(t, from, "while :; do echo tick; sleep 0.01; done")
	grows(t, from, "out")
	if _, err := from.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	to := open(t, s, "to")
	carry(t, from, to)
	if err := to.Grant(0); err != nil {
		t.Fatal(err)
	}
	if err := to.Resume(t.Context(), JobSpec{Job: testJob}); !errors.Is(err, ErrLeaseOver) {
		t.Errorf("to resume past the lease gives %v, want ErrLeaseOver", err)
	}
	carry(t, from, to)
	if err := to.Resume(t.Context(), JobSpec{Job: testJob, Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	grows(t, to, "out")
}
