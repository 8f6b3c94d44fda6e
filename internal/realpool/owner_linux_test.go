package realpool_test

import (
	"fmt"
	"strings"
	"testing"

	"skua/internal/realpool"
)

// startDesks starts a pool of desktops whose owners are soon away and soon believed to be back, each at a display.
func startDesks(t *testing.T, desks int) (p *realpool.Pool, displays []string) {
	t.Helper()
	for range desks {
		displays = append(displays, realpool.Display(t))
	}
	return realpool.Start(t, bin, realpool.Config{
		Agents: desks, Lease: 30,
		Policy: func(int) string {
			return `preset = "desktop"
[owner]
idle_after = "2s"
continue_after = "2s"
background_load = 1000.0
[vacate]
suspend_for = "1s"
max_vacate_time = "1m"
`
		},
		Agent: func(n int) string { return fmt.Sprintf("displays = [%q]\nttys = false\n", displays[n-1]) },
	}), displays
}

// The owner is back on a real display: the job freezes, is checkpointed by CRIU, and goes on elsewhere.
func TestOwnerReturns(t *testing.T) {
	can := needSandbox(t)
	needProgram(t, "Xvfb", "xdotool")
	switch {
	case can.Checkpoint:
	case can.CriuPath == "":
		t.Skip("this machine cannot checkpoint jobs: ", can.CheckpointWhy)
	default:
		t.Fatal("there is criu, and the self test fails: ", can.CheckpointWhy)
	}
	p, displays := startDesks(t, 2)
	id := submitStepper(t, p, 150, "0.1")
	victim := runsOn(p, id)
	if victim == 0 {
		t.Fatal("no agent says that it runs the job")
	}
	stop := realpool.Type(t, displays[victim-1])
	p.Await("the job stands still", func() bool { return realpool.Frozen(p.JobProcesses(id)) })
	other := 3 - victim
	p.Await("the job goes on elsewhere", func() bool { return strings.Contains(p.Agents[other-1].Log(), "goes on from its checkpoint") })
	stood := len(p.Lines("steps"))
	p.Await("the job makes steps", func() bool { return len(p.Lines("steps")) > stood+2 })
	stop()
	p.Must("skua", "wait", id, "--timeout", "4m")
	checkSteps(t, p, 150, 1)
	checkCompletions(t, p, id)
	if log := p.Read("steps.log"); !strings.Contains(log, "010 (") || !strings.Contains(log, "004 (") {
		t.Errorf("the log does not tell that the job was suspended and evicted:\n%s", log)
	}
}
