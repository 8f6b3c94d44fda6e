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
