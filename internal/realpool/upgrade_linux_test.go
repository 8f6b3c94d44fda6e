package realpool_test

import (
	"strings"
	"syscall"
	"testing"

	"skua/internal/realpool"
)

// An agent that is told to make way for a newer one ends at once and leaves its job to that.
func TestAgentHandsOver(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1, Lease: 30})
	id := submitStepper(t, p, 80, "0.1")
	before := pids(p.JobProcesses(id))
	if len(before) == 0 {
		t.Fatal("the job's processes cannot be seen")
	}
	if code := p.Agents[0].End(syscall.SIGUSR1); code != 0 {
		t.Errorf("the agent ended with exit code %d", code)
	}
	if !strings.Contains(p.Agents[0].Log(), "agent hands over") {
		t.Error("the log does not tell that the jobs stay")
	}
	p.Await("the job stands still without its agent", func() bool {
		left := p.JobProcesses(id)
		return len(left) > 0 && realpool.Frozen(left)
	})
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
