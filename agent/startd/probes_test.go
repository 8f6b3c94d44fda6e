package startd

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/agent/probe"
	"skua/internal/adnames"
	"skua/internal/diag"
	"skua/internal/quantity"
	"skua/policy/config"
)

func TestProbeSettings(t *testing.T) {
	if !probe.CanRunScripts {
		t.Skip("this system cannot run probes")
	}
	var s Settings
	if err := config.Decode("agent.toml", []byte(`
[probes]
licences = { run = "/usr/local/bin/licences" }
fast = { run = "/opt/fast", every = "30s", user = "lab" }
slow = { run = "/opt/slow", every = "1h", timeout = "2m" }
`), &s); err != nil {
		t.Fatal(err)
	}
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	want := []probe.Script{
		{Name: "fast", Run: "/opt/fast", Every: 30 * time.Second, Timeout: 10 * time.Second, User: "lab"},
		{Name: "licences", Run: "/usr/local/bin/licences", Every: 10 * time.Minute, Timeout: 10 * time.Second},
		{Name: "slow", Run: "/opt/slow", Every: time.Hour, Timeout: 2 * time.Minute},
	}
	got := s.scripts()
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

func TestProbeSettingsRefuses(t *testing.T) {
	if !probe.CanRunScripts {
		t.Skip("this system cannot run probes")
	}
	second := quantity.Duration(time.Second)
	for _, tt := range []struct {
		name  string
		probe ProbeSettings
		want  string
	}{
		{"lab", ProbeSettings{}, "probes.lab: run = "},
		{"lab", ProbeSettings{Run: "licences"}, "probes.lab: run = "},
		{"a b", ProbeSettings{Run: "/bin/true"}, "probes.a b: this is not a probe's name"},
		{"lab", ProbeSettings{Run: "/bin/true", Every: second}, `probes.lab: every = "1s" is less than "10s"`},
		{"lab", ProbeSettings{Run: "/bin/true", Every: 20 * second, Timeout: 30 * second}, `probes.lab: timeout = "30s" is not between 0 and "20s"`},
	} {
		err := Settings{Probes: map[string]ProbeSettings{tt.name: tt.probe}}.check()
		p, ok := errors.AsType[*diag.Problem](err)
		if !ok || !strings.HasPrefix(p.What, tt.want) || p.Hint == "" {
			t.Errorf("%+v: error %v, want a problem with %q and a hint", tt.probe, err, tt.want)
		}
	}
	var s Settings
	err := config.Decode("agent.toml", []byte("[probes]\nlab = { rnu = \"/bin/true\" }\n"), &s)
	if err == nil || !strings.Contains(err.Error(), "rnu") {
		t.Errorf("a misspelt key: %v", err)
	}
}

// TestNamesOfMachinesAreKnown: what an agent says of its machine is not doubted where users write it.
func TestNamesOfMachinesAreKnown(t *testing.T) {
	for _, name := range MachineAttributes() {
		if !slices.Contains(adnames.Machine, name) {
			t.Errorf("package adnames does not know %s", name)
		}
	}
}
