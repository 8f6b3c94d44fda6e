//go:build !windows

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"skua/agent/control"
	"skua/agent/startd"
	"skua/policy"
)

// sayer is an agent that says how it is.
type sayer struct{ said control.Status }

func (s sayer) Status(time.Time) control.Status { return s.said }
func (sayer) Heed(control.Wish)                 {}
func (sayer) Ran() ([]control.Ran, error)       { return nil, nil }
func (sayer) MayPause() time.Duration           { return 0 }

// serveSaid has an agent say how it is, and gives where.
func serveSaid(t *testing.T, said control.Status) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "agent.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	s := control.Server{Agent: sayer{said}, Seated: func() []uint32 { return nil }, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return path
}

// A file is explained for the machine as its agent says that it is: what the jobs have of the load is not the owner's, and
// the owner was seen when the agent saw him.
func TestExplainKnowsWhatTheAgentSays(t *testing.T) {
	p, err := policy.Derive(policy.File{})
	if err != nil {
		t.Fatal(err)
	}
	since := time.Now().Add(-time.Hour)
	said := control.Status{
		SkuaLoad: 1.5, Idle: 483 * time.Second, Facts: map[string]string{"ConsoleIdle": "490"},
		Slots: []control.SlotStatus{{State: "Claimed", Activity: "Suspended", Since: since}},
	}
	for _, tt := range []struct {
		name  string
		said  *control.Status
		owner bool
		want  map[string]string
	}{
		{"an agent that says it", &said, true, map[string]string{
			"SkuaLoadAvg": "1.500000000000000E+00", "KeyboardIdle": "483", "ConsoleIdle": "490", "State": `"Claimed"`, "Activity": `"Suspended"`,
			"EnteredCurrentActivity": strconv.FormatInt(since.Unix(), 10),
		}},
		{"no agent", nil, false, map[string]string{
			"SkuaLoadAvg": "0.0", "KeyboardIdle": "undefined", "State": `"Unclaimed"`, "Activity": `"Idle"`,
		}},
	} {
		cfg := fileConfig{Settings: startd.Settings{Name: "desk", Owner: new(tt.owner)}}
		ad, err := machineNow(t.Context(), cfg, p, tt.said)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range tt.want {
			if got := ad.Eval(name, nil).String(); got != want {
				t.Errorf("%s: %s is %s, want %s", tt.name, name, got, want)
			}
		}
	}
}

// Without a file it is what the agent goes by that is explained, by what the agent sees; who may read neither the
// configuration nor the agent's state is told the same.
func TestExplainWhatHolds(t *testing.T) {
	p, err := policy.Derive(policy.File{Preset: policy.Dedicated})
	if err != nil {
		t.Fatal(err)
	}
	rules := p.Texts()
	rules["START"] = "KeyboardIdle > 900 && Room =?= \"B204\""
	now := time.Now()
	path := serveSaid(t, control.Status{
		Rules: rules, Facts: map[string]string{"KeyboardIdle": "12", "Room": `"B204"`, "Activity": `"Suspended"`, "EnteredCurrentActivity": strconv.FormatInt(now.Unix()-3600, 10)},
		Wish:    control.Wish{Kind: control.Pause, At: now, Until: now.Add(time.Hour), By: "root"},
		Central: &control.Central{Group: "default", Number: 3},
	})
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "name = \"desk\"\ndir = %q\ncontrol = %q\n", dir, path), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"--config", config, "policy", "explain"}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	for _, want := range []string{
		"no job may come: root paused this machine until ", "START        is false", "not: KeyboardIdle > 900 (KeyboardIdle is 12)",
		"PREEMPT      is true", "would be true if KeyboardIdle were 901, not 12", "the group default, number 3",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("there is no %q in\n%s", want, &stdout)
		}
	}
}

// A list of nothing is one for programs, too.
func TestLogOfNothing(t *testing.T) {
	path := serveSaid(t, control.Status{})
	config := filepath.Join(t.TempDir(), "agent.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "name = \"desk\"\ndir = %q\ncontrol = %q\n", t.TempDir(), path), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"--config", config, "log", "--json"}, &stdout, &stderr); code != 0 || stdout.String() != "[]\n" {
		if !strings.Contains(stderr.String(), "does not sit at this machine") { // not root
			t.Errorf("exit %d: %q, %q", code, &stdout, &stderr)
		}
	}
}
