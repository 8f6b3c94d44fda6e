package realpool_test

import (
	"strings"
	"testing"

	"skua/internal/realpool"
)

// A job that did not make what it declared is held, says why, and its user has its streams.
func TestMissingOutputShowsTheStreams(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1, Lease: 30})
	p.Script("sim", "echo step 1 of 3\necho cannot open the model >&2\necho 0.5 > partial.dat\nexit 0\n")
	cluster := p.Submit("sim.sub", `executable = sim
transfer_output_files = result.dat
output = sim.out
error = sim.err
log = sim.log
queue
`)
	p.Await("the log tells of the hold", func() bool { return strings.Contains(p.Read("sim.log"), "012 (") })
	p.Await("the standard error is there", func() bool { return p.Read("sim.err") == "cannot open the model\n" })
	if out := p.Read("sim.out"); out != "step 1 of 3\n" {
		t.Errorf("the standard output is %q", out)
	}
	const why = "the job declared the output result.dat and did not make it; it left partial.dat"
	if log := p.Read("sim.log"); !strings.Contains(log, why) || !strings.Contains(log, "Code 12 Subcode 2") {
		t.Errorf("the log does not say why, %q:\n%s", why, log)
	}
	p.Must("skua", "rm", cluster)

	// Who waits for the job finds them when the wait is over.
	p.Write("again.sub", "executable = sim\ntransfer_output_files = result.dat\noutput = again.out\nerror = again.err\nqueue\n")
	_, said, code := p.Run("", "skua", "submit", "--wait", "again.sub")
	if code != 4 || !strings.Contains(said, why) {
		t.Errorf("submit --wait ends with %d and says %s", code, said)
	}
	if errs := p.Read("again.err"); errs != "cannot open the model\n" {
		t.Errorf("after the wait the standard error is %q", errs)
	}
	p.Must("skua", "rm", "--all")
}

// Its user looks into a job that runs, suspends it and lets it go on; and one that wants to hear of its
// removal does.
func TestUserAsksOfARunningJob(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1, Lease: 30})
	p.Script("steps", `trap 'echo "gone gone $(date +%s.%N)" >> "$1"; exit 0' INT
i=0
while :; do i=$((i+1)); echo step $i; sleep 0.05; done
`)
	cluster := p.Submit("steps.sub", `executable = steps
arguments = `+p.Journal+`/steps
remove_kill_sig = SIGINT
output = steps.out
log = steps.log
queue
`)
	id := cluster + ".0"
	p.Await("its output can be seen", func() bool {
		out, _, _ := p.Run("", "skua", "tail", id)
		return strings.Contains(out, "step 3\n")
	})
	p.Must("skua", "suspend", id)
	p.Await("it is suspended", func() bool {
		return realpool.Frozen(p.JobProcesses(id)) && strings.Contains(p.Read("steps.log"), "010 (")
	})
	p.Must("skua", "continue", id)
	p.Await("it goes on", func() bool {
		return !realpool.Frozen(p.JobProcesses(id)) && strings.Contains(p.Read("steps.log"), "011 (")
	})
	p.Must("skua", "rm", id)
	p.Await("it has heard of its removal", func() bool { return len(p.Lines("steps")) == 1 })
	p.Await("it is gone", func() bool { return len(p.JobProcesses(id)) == 0 })
}

// A job that takes more memory than its slot has is held, and skua why says so.
func TestTooMuchMemory(t *testing.T) {
	needProgram(t, "python3")
	p := start(t, realpool.Config{Agents: 1, Lease: 30, Policy: func(int) string {
		return "preset = \"dedicated\"\n[limits]\nmemory = \"100MB\"\n"
	}})
	p.Script("grow", `echo begun
exec python3 -c "
import time
x = bytearray()
while len(x) < 150_000_000: x += bytes([1]) * 10_000_000
time.sleep(1000)"
`)
	cluster := p.Submit("grow.sub", "executable = grow\noutput = grow.out\nlog = grow.log\nqueue\n")
	p.Await("the log tells of the hold", func() bool { return strings.Contains(p.Read("grow.log"), "012 (") })
	p.Await("its output is there", func() bool { return p.Read("grow.out") == "begun\n" })
	const why = "of memory, and slot1@desk1 allows"
	if log := p.Read("grow.log"); !strings.Contains(log, why) || !strings.Contains(log, "Code 34") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if said := p.Must("skua", "why", cluster+".0"); !strings.Contains(said, why) {
		t.Errorf("skua why says\n%s", said)
	}
}
