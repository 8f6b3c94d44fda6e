package realpool_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/realpool"
)

// Two jobs of different sizes share a partitionable machine. Its agent is killed and started again, and
// everybody has what they had.
func TestPartsOfOneMachine(t *testing.T) {
	p := start(t, realpool.Config{Agents: 1, Slots: 4, Parts: true, Lease: 60, Policy: func(int) string {
		return "preset = \"dedicated\"\n[machine]\nCpus = 3\nMemory = 2000\nDisk = 300000\n" // whatever machine this is
	}})
	journal := mkdir(p, "out")
	p.Script("wait-for", `grep -E "^(Name|Cpus|Memory|Disk) = " $_CONDOR_MACHINE_AD
while ! [ -e "$1" ]; do sleep 0.1; done
`)
	submit := func(name string, cpus, memory, disk int) string {
		return p.Submit(name+".sub", fmt.Sprintf(`executable = wait-for
arguments = %s/stop
request_cpus = %d
request_memory = %d
request_disk = %d
output = out/%s
log = %s.log
queue
`, journal, cpus, memory, disk, name, name)) + ".0"
	}
	slots := func() string {
		out := p.Must("skua", "status", "-af", "Name", "SlotType", "State", "Cpus", "Memory", "Disk", "JobId")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("slots:\n%s", slots())
		}
	})
	narrow := submit("narrow", 1, 200, 5000)
	p.Await("the narrow job runs", func() bool { return len(p.JobProcesses(narrow)) > 0 })
	wide := submit("wide", 2, 900, 20_000)
	p.Await("the wide job runs", func() bool { return len(p.JobProcesses(wide)) > 0 })
	full := strings.Join([]string{
		"slot1@desk1 Partitionable Unclaimed 0 720 274400 undefined",
		"slot1_1@desk1 Dynamic Claimed 1 256 5120 " + narrow,
		"slot1_2@desk1 Dynamic Claimed 2 1024 20480 " + wide,
	}, "\n")
	p.AwaitFor(time.Minute, "the machine says what is left", func() bool { return slots() == full })
	third := submit("third", 1, 100, 1000)
	why := p.Must("skua", "why", third)
	if want := "slot1@desk1 has 0 cpus left, and the job asks for 1 cpu"; !strings.Contains(why, want) {
		t.Errorf("why says\n%s\nwant %q", why, want)
	}
	for id, want := range map[string]int64{narrow: 256 << 20, wide: 1024 << 20} {
		if got := memoryLimit(t, p, id); got != want {
			t.Errorf("job %s is kept to %d bytes of memory, want %d", id, got, want)
		}
	}

	before := [][]int{pids(p.JobProcesses(narrow)), pids(p.JobProcesses(wide))}
	p.Agents[0].Kill()
	p.Await("the jobs stand still without their agent", func() bool {
		return realpool.Frozen(p.JobProcesses(narrow)) && realpool.Frozen(p.JobProcesses(wide))
	})
	p.RestartAgent(1)
	p.Await("the jobs go on", func() bool {
		return !realpool.Frozen(p.JobProcesses(narrow)) && !realpool.Frozen(p.JobProcesses(wide))
	})
	p.AwaitFor(time.Minute, "the machine says again what is left", func() bool { return slots() == full })
	for i, id := range []string{narrow, wide} {
		if after := pids(p.JobProcesses(id)); !stays(before[i], after) {
			t.Errorf("job %s has processes %v, and had %v", id, after, before[i])
		}
	}
	if got := p.JobProcesses(third); len(got) > 0 {
		t.Errorf("the third job runs beside them: %v", got)
	}

	if err := os.WriteFile(filepath.Join(journal, "stop"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{narrow, wide, third} {
		p.Must("skua", "wait", id, "--timeout", "4m")
	}
	for name, want := range map[string]string{
		"narrow": "Cpus = 1\nDisk = 5120\nMemory = 256\nName = \"slot1_1@desk1\"\n",
		"wide":   "Cpus = 2\nDisk = 20480\nMemory = 1024\nName = \"slot1_2@desk1\"\n",
	} {
		lines := strings.SplitAfter(p.Read("out/"+name), "\n")
		slices.Sort(lines)
		if got := strings.Join(lines, ""); got != want {
			t.Errorf("job %s was told\n%s\nwant\n%s", name, got, want)
		}
		if log := p.Read(name + ".log"); strings.Count(log, "\n001 (") != 1 || !strings.Contains(log, "SlotName: slot1_") {
			t.Errorf("the log of job %s:\n%s", name, log)
		}
	}
	p.AwaitFor(time.Minute, "the machine is whole again", func() bool { return slots() == "slot1@desk1 Partitionable Unclaimed 3 2000 300000 undefined" })
}

// memoryLimit is what a job's claim file says that it may have of memory, in bytes.
func memoryLimit(t *testing.T, p *realpool.Pool, id string) int64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, "desk1", "*", "*", "claim.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		var claim struct {
			Offer  struct{ Job string }
			Limits struct{ Memory int64 }
		}
		data, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(data, &claim)
		}
		if err != nil {
			t.Fatal(err)
		}
		if claim.Offer.Job == id {
			return claim.Limits.Memory
		}
	}
	t.Errorf("no claim file of job %s among %v", id, files)
	return 0
}
