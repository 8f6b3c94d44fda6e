package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"skua/packaging"
	"skua/policy/config"
)

// The agent.toml that is installed must be good as it is, and with every line that an administrator
// may take the comment sign off.
func TestPackagedFile(t *testing.T) {
	data, err := os.ReadFile("../packaging/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	uncommented := regexp.MustCompile(`(?m)^#(\w+ = )`).ReplaceAll(data, []byte("$1"))
	for name, data := range map[string][]byte{"as it is": data, "uncommented": uncommented} {
		var cfg fileConfig
		if err := config.Decode("agent.toml", data, &cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The unit of an agent that is installed as a service by hand is the packages', but for its command.
func TestPackagedUnit(t *testing.T) {
	if n := strings.Count(packaging.AgentUnit, packaging.AgentExec); n != 1 {
		t.Fatalf("the line %q stands %d times in the unit", packaging.AgentExec, n)
	}
	if strings.Contains(unit, "/usr/bin/skua-agent") || !strings.Contains(unit, "KillMode=process\n") {
		t.Errorf("the unit is\n%s", unit)
	}
}

// Where jobs run is a unit of its own, which a stop of the agent waits for and ends.
func TestPackagedUnits(t *testing.T) {
	const name = "skua-jobs.service"
	for _, line := range []string{"Wants=" + name, "After=" + name, "PropagatesStopTo=" + name} {
		if !strings.Contains(packaging.AgentUnit, line+"\n") {
			t.Errorf("the agent's unit does not say %s", line)
		}
	}
	jobs := packaging.Units[name]
	_, slice, _ := strings.Cut(jobs, "\nSlice=")
	slice, _, _ = strings.Cut(slice, "\n")
	if packaging.Units[slice] == "" || !strings.Contains(jobs, "Before=skua-agent.service\n") || !strings.Contains(jobs, "KillMode=process\n") {
		t.Errorf("the unit of the jobs, in the slice %q, is\n%s", slice, jobs)
	}
}
