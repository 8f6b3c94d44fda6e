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

// TestCondorWaitFollowsALivePool: a user submits and logs out; the submit side dies in the middle, without
// a chance to tidy up, and is back later. Log and outputs are complete, and a condor_wait that has been
// running all the time ends as if nothing had been.
func TestCondorWaitFollowsALivePool(t *testing.T) {
	root := peer(t)
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
	p := realpool.Start(t, bin, realpool.Config{Agents: 1, Slots: 2})
	p.Script("work/step", fmt.Sprintf(`echo "begin $1"; until [ -e %[1]s/go$1 ]; do sleep 0.1; done
echo "end $1"; : >%[1]s/done$1`, p.Journal))
	p.Write("work/step.sub", `executable = step
arguments = $(Process)
output = out.$(Process)
log = job.log
submit_event_notes = night run
queue 3
`)
	work := filepath.Join(p.Dir, "work")
	if out, errs, code := p.Run("work", "skua", "submit", "step.sub"); code != 0 {
		t.Fatalf("submit: exit %d\n%s%s", code, out, errs)
	}
	log := filepath.Join(work, "job.log")
	logged := func(kind eventlog.Kind) (n int) {
		if _, err := os.Stat(log); err != nil {
			return 0
		}
		for _, e := range events(t, log) {
			if e.Kind == kind {
				n++
			}
		}
		return n
	}
	p.Await("the log begins", func() bool { return logged(eventlog.Submit) == 3 })

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := inPeer(ctx, root, work, "condor_wait", "-status", "/mnt/job.log")
	var said bytes.Buffer
	wait.Stdout, wait.Stderr = &said, &said
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- wait.Wait() }()

	p.Await("two jobs run", func() bool { return logged(eventlog.Execute) == 2 })
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
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("condor_wait: %v\n%s", err, said.String())
		}
	case <-t.Context().Done():
		t.Fatal("condor_wait does not end")
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
		if n := logged(k); n != 3 {
			t.Errorf("%v stands %d times in the log:\n%s", k, n, p.Read("work/job.log"))
		}
	}
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
