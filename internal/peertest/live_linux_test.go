package peertest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"skua/agent/starter"
	"skua/internal/eventlog"
	"skua/internal/realpool"
)

func TestMain(m *testing.M) {
	starter.MaybeInit() // the test asks for what this machine can do
	os.Exit(m.Run())
}

// livePool starts a pool with one machine, if this one can run jobs.
func livePool(t *testing.T) *realpool.Pool {
	t.Helper()
	s, err := starter.New(starter.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if can := s.Capabilities(t.Context()); !can.Sandbox {
		t.Skip("this machine cannot run jobs: ", can.SandboxWhy)
	}
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := realpool.Build(bin); err != nil {
		t.Fatal(err)
	}
	return realpool.Start(t, bin, realpool.Config{Agents: 1, Slots: 2})
}

// submit submits a description in the directory work.
func submit(t *testing.T, p *realpool.Pool, name, description string) {
	t.Helper()
	p.Write(filepath.Join("work", name), description)
	if out, errs, code := p.Run("work", "skua", "submit", name); code != 0 {
		t.Fatalf("submit %s: exit %d\n%s%s", name, code, out, errs)
	}
}

// count says how often a kind of event stands in a log, which need not be there.
func count(t *testing.T, log string, kind eventlog.Kind) (n int) {
	t.Helper()
	if !realpool.Exists(log) {
		return 0
	}
	for _, e := range events(t, log) {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// condorWait starts condor_wait on a log in dir; ended gives how it went.
func condorWait(t *testing.T, root, dir, log string) (ended func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	wait := inPeer(ctx, root, dir, "condor_wait", "-status", "/mnt/"+log)
	var said bytes.Buffer
	wait.Stdout, wait.Stderr = &said, &said
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- wait.Wait() }()
	t.Cleanup(func() {
		cancel()
		<-result
	})
	return func() error {
		err := <-result
		result <- err
		if err != nil {
			return fmt.Errorf("condor_wait %s: %w\n%s", log, err, said.String())
		}
		return nil
	}
}

// TestCondorWaitFollowsALivePool: a user submits and logs out; the submit side dies in the middle, without
// a chance to tidy up, and is back later. Log and outputs are complete, and a condor_wait that has been
// running all the time ends as if nothing had been.
func TestCondorWaitFollowsALivePool(t *testing.T) {
	root := peer(t)
	p := livePool(t)
	work := filepath.Join(p.Dir, "work")
	log := filepath.Join(work, "job.log")
	p.Script("work/step", fmt.Sprintf(`echo "begin $1"; until [ -e %[1]s/go$1 ]; do sleep 0.1; done
echo "end $1"; : >%[1]s/done$1`, p.Journal))
	submit(t, p, "step.sub", `executable = step
arguments = $(Process)
output = out.$(Process)
log = job.log
submit_event_notes = night run
queue 3
`)
	p.Await("the log begins", func() bool { return count(t, log, eventlog.Submit) == 3 })
	ended := condorWait(t, root, work, "job.log")
	p.Await("two jobs run", func() bool { return count(t, log, eventlog.Execute) == 2 })
	killCourier(t, p.Dir)
	for proc := range 3 { // meanwhile they end, and the third runs
		if err := os.WriteFile(filepath.Join(p.Journal, "go"+strconv.Itoa(proc)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.Await("all jobs have done their work", func() bool {
		for proc := range 3 {
			if !realpool.Exists(filepath.Join(p.Journal, "done"+strconv.Itoa(proc))) {
				return false
			}
		}
		return true
	})
	p.Run("", "skua", "q") // any command starts the courier again
	if err := ended(); err != nil {
		t.Fatal(err)
	}
	for proc := range 3 {
		want := fmt.Sprintf("begin %d\nend %d\n", proc, proc)
		if got := p.Read(fmt.Sprintf("work/out.%d", proc)); got != want {
			t.Errorf("out.%d holds %q, want %q", proc, got, want)
		}
	}
	want, got := events(t, log), peerReads(t, root, work)
	if len(got) != len(want) {
		t.Errorf("HTCondor reads %d events of %d", len(got), len(want))
	}
	for _, k := range []eventlog.Kind{eventlog.Submit, eventlog.Execute, eventlog.Terminated} {
		if n := count(t, log, k); n != 3 {
			t.Errorf("%v stands %d times in the log:\n%s", k, n, p.Read("work/job.log"))
		}
	}

	t.Run("a job that is tried again", func(t *testing.T) {
		submit(t, p, "retry.sub", "executable = /bin/sh\ntransfer_executable = false\narguments = \"-c 'exit 3'\"\nmax_retries = 1\nlog = retry.log\nqueue\n")
		log := filepath.Join(work, "retry.log")
		p.Await("the log begins", func() bool { return realpool.Exists(log) })
		if err := condorWait(t, root, work, "retry.log")(); err != nil {
			t.Fatal(err)
		}
		if text := p.Read("work/retry.log"); !strings.Contains(text, "Job terminated and was requeued") || count(t, log, eventlog.Terminated) != 1 {
			t.Errorf("the log is\n%s", text)
		}
	})
	t.Run("jobs that enter one by one", func(t *testing.T) {
		submit(t, p, "late.sub", "executable = /bin/true\ntransfer_executable = false\nmax_materialize = 1\nlog = late.log\nqueue 3\n")
		log := filepath.Join(work, "late.log")
		p.Await("the cluster is over", func() bool { return count(t, log, eventlog.ClusterRemove) == 1 })
		if err := condorWait(t, root, work, "late.log")(); err != nil {
			t.Fatal(err)
		}
		if count(t, log, eventlog.ClusterSubmit) != 1 || count(t, log, eventlog.Submit) != 3 || count(t, log, eventlog.Terminated) != 3 {
			t.Errorf("the log is\n%s", p.Read("work/late.log"))
		}
	})
	t.Run("a job without its output", func(t *testing.T) {
		submit(t, p, "miss.sub", "executable = /bin/echo\ntransfer_executable = false\narguments = said all the same\noutput = miss.out\ntransfer_output_files = none.txt\nlog = miss.log\nqueue\n")
		log := filepath.Join(work, "miss.log")
		p.Await("the job is held", func() bool { return count(t, log, eventlog.Held) == 1 })
		if got := p.Read("work/miss.out"); got != "said all the same\n" {
			t.Errorf("when the log says that it is held, its output is %q", got)
		}
	})
	t.Logf("live: events %d condor_wait 0", len(got))
}

// killCourier ends the background process as a power cut does.
func killCourier(t *testing.T, dir string) {
	t.Helper()
	locks, _ := filepath.Glob(filepath.Join(dir, "home", "hosts", "*", "courier.lock")) // the pattern is well formed
	if len(locks) == 0 {
		t.Fatal("there is no courier")
	}
	for _, lock := range locks {
		data, err := os.ReadFile(lock)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatalf("%s: %v", lock, err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill the courier: %v", err)
		}
	}
}
