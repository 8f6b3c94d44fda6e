package realpool_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// submitStepper submits a job that steps every pause, and waits until it has made a few.
func submitStepper(t *testing.T, p *realpool.Pool, steps int, pause string) (id string) {
	t.Helper()
	p.Script("steps", realpool.Stepper)
	cluster := p.Submit("steps.sub", fmt.Sprintf(`executable = steps
arguments = %s/steps %d %s
output = steps.out
log = steps.log
queue
`, p.Journal, steps, pause))
	p.Await("the job makes steps", func() bool { return len(p.Lines("steps")) >= 3 })
	return cluster + ".0"
}

// runsOn gives the number of the agent whose machine has the job, 0 for none.
func runsOn(p *realpool.Pool, id string) int {
	for i := range p.Agents {
		line := lastLine(p.Agents[i].Log(), "job="+id)
		runs := strings.Contains(line, `msg="job runs"`) || strings.Contains(line, `msg="job goes on from its checkpoint"`)
		if runs && len(p.JobProcesses(id)) > 0 {
			return i + 1
		}
	}
	return 0
}

func lastLine(log, with string) string {
	last := ""
	for line := range strings.Lines(log) {
		if strings.Contains(line, with) && !strings.Contains(line, "level=DEBUG") {
			last = line
		}
	}
	return last
}

// The agent is killed and started again: the same processes go on with the same job.
func TestAgentKilledAndStartedAgain(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1, Lease: 30})
	id := submitStepper(t, p, 80, "0.1")
	before := pids(p.JobProcesses(id))
	if len(before) == 0 {
		t.Fatal("the job's processes cannot be seen")
	}
	p.Agents[0].Kill()
	p.Await("the job stands still without its agent", func() bool { return realpool.Frozen(p.JobProcesses(id)) })
	p.RestartAgent(1)
	stood := len(p.Lines("steps"))
	p.Await("the job goes on", func() bool { return len(p.Lines("steps")) > stood+2 })
	if after := pids(p.JobProcesses(id)); !stays(before, after) {
		t.Errorf("the job has processes %v, and had %v", after, before)
	}
	p.Must("skua", "wait", id, "--timeout", "4m")
	checkSteps(t, p, 80, 1)
	checkCompletions(t, p, id)
}

// pids gives the process ids in the order of their ages; the first is the job's first process.
func pids(all []realpool.Process) []int {
	var ids []int
	for _, proc := range all {
		ids = append(ids, proc.Pid)
	}
	slices.Sort(ids)
	return ids
}

// stays reports whether a job goes on in one of the processes it had. Which is the oldest does not show in
// the numbers: they come round.
func stays(before, after []int) bool {
	return slices.ContainsFunc(after, func(pid int) bool { return slices.Contains(before, pid) })
}

// checkSteps wants all steps of so many beginnings, the last of which did all; with one beginning none is
// made twice.
func checkSteps(t *testing.T, p *realpool.Pool, steps, beginnings int) {
	t.Helper()
	nonces, last, repeated, skipped := p.Steps("steps")
	if len(nonces) != beginnings || last != steps || skipped != 0 || beginnings == 1 && repeated != 0 {
		t.Errorf("%d beginnings, %d steps, %d repeated, %d left out; want %d and %d", len(nonces), last, repeated, skipped, beginnings, steps)
	}
	if out, want := p.Read("steps.out"), fmt.Sprintf("%d steps\n", steps); out != want {
		t.Errorf("the output is %q, want %q", out, want)
	}
}

// checkCompletions wants the one end of a job in its log and in the history.
func checkCompletions(t *testing.T, p *realpool.Pool, id string) {
	t.Helper()
	// Wait waits for the outputs; the log's last event may come a moment later.
	p.Await("the log tells the end", func() bool { return strings.Contains(p.Read("steps.log"), "005 (") })
	if n := strings.Count(p.Read("steps.log"), "005 ("); n != 1 {
		t.Errorf("the log tells of %d ends:\n%s", n, p.Read("steps.log"))
	}
	if n := strings.Count(p.Must("skua", "history"), id+" "); n != 1 {
		t.Errorf("the history has the job %d times", n)
	}
}

// The agent is killed for good: its job stands still within two seconds and runs elsewhere after the
// lease, and never do both run.
func TestAgentKilledForGood(t *testing.T) {
	p := start(t, realpool.Config{Agents: 2, Lease: 6})
	id := submitStepper(t, p, 60, "0.1")
	victim := runsOn(p, id)
	if victim == 0 {
		t.Fatal("no agent says that it runs the job")
	}
	killed := time.Now()
	p.Agents[victim-1].Kill()
	p.AwaitFor(realpool.Patience, "the job stands still", func() bool { return realpool.Frozen(p.JobProcesses(id)) })
	stood := len(p.Lines("steps"))
	p.Must("skua", "wait", id, "--timeout", "4m")
	lines := p.Lines("steps")
	for _, l := range lines[:stood] {
		if late := l.At.Sub(killed); late > 2500*time.Millisecond {
			t.Errorf("the first copy made step %s %v after its agent was killed", l.What, late)
		}
	}
	for _, l := range lines[stood:] {
		if l.Nonce == lines[0].Nonce {
			t.Errorf("the first copy, frozen, made step %s", l.What)
		}
	}
	if again := lines[stood].At.Sub(killed); again < 5*time.Second {
		t.Errorf("the job ran again %v after its agent was killed, before the lease was over", again)
	}
	checkSteps(t, p, 60, 2)
	checkCompletions(t, p, id)
}

// The matchmaker is killed in the middle of everything, and started again.
func TestMatchmakerKilled(t *testing.T) {
	const slots, jobs = 20, 120
	p := start(t, realpool.Config{Agents: 2, Slots: slots / 2, Lease: 60, Policy: func(int) string {
		return "preset = \"dedicated\"\n[machine]\nCpus = 1\nMemory = 512\n" // of each slot, whatever machine this is
	}})
	p.Script("record", `nonce=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
echo "$nonce begin-$2 $(date +%s.%N)" >> "$1"
sleep 4
echo "$nonce end-$2 $(date +%s.%N)" >> "$1"
echo "job $2"
`)
	cluster := p.Submit("record.sub", fmt.Sprintf(`executable = record
arguments = %s/records $(Process)
output = out/$(Process)
log = record.log
queue %d
`, mkdir(p, "out"), jobs))
	count := func(what string) (n int) {
		for _, l := range p.Lines("records") {
			if strings.HasPrefix(l.What, what) {
				n++
			}
		}
		return n
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, from := range []string{"history", "q"} {
				out, _, _ := p.Run("", "skua", from, "-af:j", "JobStatus", "NumJobStarts", "ExitCode", "ExitSignal", "HoldReason", "LastVacateReason")
				t.Logf("%s:\n%s", from, out)
			}
			t.Logf("journal:\n%+v", p.Lines("records"))
		}
	})
	p.Await("20 jobs run", func() bool { return count("begin")-count("end") == slots })
	p.Matchmaker.Kill()
	began, ended := count("begin"), count("end")
	if out, errs, code := p.Run("", "skua", "q"); code != 3 {
		t.Errorf("q without a matchmaker: exit %d, want 3\n%s%s", code, out, errs)
	}
	p.Await("all that run have ended", func() bool { return count("end") == began })
	t.Logf("killed when %d jobs had begun and %d ended", began, ended)
	p.StartMatchmaker()
	p.AwaitFor(realpool.Patience, "all jobs have ended", func() bool { return count("end") >= jobs })
	p.Must("skua", "wait", cluster, "--timeout", "4m")
	seen := map[string]int{}
	for _, l := range p.Lines("records") {
		seen[l.What]++
	}
	for i := range jobs {
		begin, end := seen[fmt.Sprint("begin-", i)], seen[fmt.Sprint("end-", i)]
		if begin != 1 || end != 1 {
			t.Errorf("job %d began %d times and ended %d times", i, begin, end)
		}
		if got, want := p.Read(fmt.Sprint("out/", i)), fmt.Sprintf("job %d\n", i); got != want {
			t.Errorf("output of job %d is %q, want %q", i, got, want)
		}
	}
	if n := strings.Count(p.Must("skua", "history"), "\n"+cluster+".") + strings.Count(p.Must("skua", "history"), " "+cluster+"."); n < jobs {
		t.Errorf("the history has %d jobs, want %d", n, jobs)
	}
}

// mkdir makes a directory of the pool's and gives the journal's path, for a line of a description.
func mkdir(p *realpool.Pool, name string) string {
	p.Write(name+"/.keep", "")
	return p.Journal
}

// SIGTERM ends every program, and with them all that they have started.
func TestCleanStop(t *testing.T) {
	p := start(t, realpool.Config{Agents: 2, Lease: 30})
	id := submitStepper(t, p, 10_000, "0.1")
	victim := runsOn(p, id)
	cgroups := p.Cgroups()
	for i, a := range p.Agents {
		if i+1 == victim {
			continue
		}
		if code := a.Stop(); code != 0 { // nothing runs on it
			t.Errorf("%s: exit %d after SIGTERM", a.Name, code)
		}
	}
	if code := p.Agents[victim-1].Stop(); code != 0 {
		t.Errorf("%s: exit %d after SIGTERM", p.Agents[victim-1].Name, code)
	}
	if left := p.JobProcesses(id); len(left) > 0 {
		t.Errorf("of the job are left %v", left)
	}
	for _, c := range cgroups {
		if realpool.Exists(c) {
			t.Errorf("the cgroup %s is left", c)
		}
	}
	if out := p.Must("skua", "q"); !strings.Contains(out, "1 idle") {
		t.Errorf("the job does not wait:\n%s", out)
	}
	if code := p.Matchmaker.Stop(); code != 0 {
		t.Errorf("matchmaker: exit %d after SIGTERM", code)
	}
	p.StopCourier()
	if left := p.Leftovers(); len(left) > 0 {
		t.Errorf("these are left: %v", left)
	}
}
