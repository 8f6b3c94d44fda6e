package packaging

import (
	"os"
	"strings"
	"testing"
)

// The matchmaker may listen on port 443, and can do nothing else that its user cannot.
func TestMatchmakerCapabilities(t *testing.T) {
	unit, err := os.ReadFile("skua-matchmaker.service")
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]string{}
	for line := range strings.Lines(string(unit)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.Contains(key, "Capabilit") && key[0] != '#' {
			sets[key] += value
		}
	}
	for _, set := range []string{"CapabilityBoundingSet", "AmbientCapabilities"} {
		if got, want := sets[set], "CAP_NET_BIND_SERVICE"; got != want {
			t.Errorf("%s is %q, want %s", set, got, want)
		}
	}
}

// The directory that the agent's and the matchmaker's are in is neither's. systemd would give all that is in it to the
// user of a unit that names it.
func TestStateDirectories(t *testing.T) {
	unit, err := os.ReadFile("skua-matchmaker.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ unit, text, line string }{
		{"matchmaker", string(unit), "StateDirectory=skua/matchmaker"},
		{"matchmaker", string(unit), "ExecStartPre=+/usr/bin/install -d -o root -g root -m 0711 /var/lib/skua"},
		{"agent", AgentUnit, "StateDirectory=skua/agent"},
	} {
		key, _, _ := strings.Cut(tt.line, "=")
		var got []string
		for line := range strings.Lines(tt.text) {
			if strings.HasPrefix(line, key+"=") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if len(got) != 1 || got[0] != tt.line {
			t.Errorf("the unit of the %s has %q, want %s", tt.unit, got, tt.line)
		}
	}
}

// The file systems that jobs share are mounted before the agent looks for them.
func TestAgentAfterMounts(t *testing.T) {
	if !strings.Contains(AgentUnit, "\nAfter=remote-fs.target\n") {
		t.Error("the agent's unit does not wait for remote file systems")
	}
}
