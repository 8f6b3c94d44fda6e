package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/diag"
	"skua/policy"
	"skua/policy/config"
)

// A table of situations of every preset, through the command itself.
func TestPolicyTest(t *testing.T) {
	for _, tt := range []struct {
		policy, table string
		code          int
		want          []string
	}{
		{`preset = "desktop"`, `
[[case]]
name = "nobody there"
expect = "start"
[[case]]
name = "owner at the keyboard on battery"
state = "Claimed/Busy"
facts = { KeyboardIdle = 0, OnBattery = true }
expect = "suspend"
[[case]]
name = "the night-time owner"
at = "Mon 23:00"
state = "Claimed/Busy"
facts = { KeyboardIdle = 0 }
expect = "suspend"
[[case]]
name = "owner stays"
state = "Claimed/Suspended"
for = "11m"
facts = { KeyboardIdle = 0 }
expect = "leave"
[[case]]
name = "leaves for too long"
state = "Preempting/Vacating"
for = "11m"
expect = "kill"
[[case]]
name = "nobody watches"
facts = { KeyboardIdle = "undefined" }
expect = "wait"
`, diag.ExitOK, []string{"ok", "6 verdicts are as expected"}},
		{`preset = "office"`, `
[[case]]
state = "Claimed/Busy"
facts = { KeyboardIdle = 0 }
expect = "throttle"
[[case]]
facts = { KeyboardIdle = 0 }
expect = "start"
[[case]]
name = "a game"
state = "Claimed/Busy"
facts = { FullScreen = true }
expect = "suspend"
`, diag.ExitOK, []string{"case 1", "throttle"}},
		{`preset = "lab-night"`, `
[[case]]
at = "2026-03-03 07:00"
state = "Claimed/Busy"
expect = "leave"
[[case]]
at = "Sat 12:00"
state = "Claimed/Suspended"
expect = "run"
`, diag.ExitOK, nil},
		{"drain.reboot = '04:00'\nallow.users = ['mira']", `
[[case]]
at = "Tue 03:40"
state = "Unclaimed"
expect = "drain"
[[case]]
at = "Tue 03:40"
state = "Claimed/Busy"
expect = "retire"
[[case]]
job = { Owner = "jan" }
expect = "wait"
[[case]]
job = { Owner = "mira" }
expect = "start"
`, diag.ExitOK, nil},
		{`preset = "dedicated"`, "[[case]]\nfacts = { KeyboardIdle = 0 }\nname = \"the console\"\nexpect = \"wait\"", diag.ExitFailure, []string{"DIFFERS", "the console", "1 of 1 verdicts"}},
		{"", "", diag.ExitFailure, []string{"has no situation"}},
		{"", "[[case]]\nname = \"x\"", diag.ExitFailure, []string{"situation 1 (x) expects nothing"}},
		{"", "[[case]]\nexpect = \"stop\"", diag.ExitFailure, []string{`"stop" is not a verdict`}},
		{"", "[[case]]\nexpect = \"wait\"\nat = \"25:00\"", diag.ExitFailure, []string{"t.toml:3: case.at", "is not a moment"}},
		{"", "[[case]]\nexpect = \"wait\"\nstat = \"Owner\"", diag.ExitFailure, []string{`unknown key "case.stat"`, `did you mean "state"?`}},
		{"", "[[case]]\nexpect = \"wait\"\nstate = \"Claimed\"", diag.ExitFailure, []string{`"Claimed" is not a state`}},
	} {
		dir := t.TempDir()
		p, table := filepath.Join(dir, "p.toml"), filepath.Join(dir, "t.toml")
		for path, text := range map[string]string{p: tt.policy, table: tt.table} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out strings.Builder
		if code := run(t.Context(), []string{"policy", "test", p, table}, &out, &out); code != tt.code {
			t.Errorf("%s: exit code %d, want %d:\n%s", tt.policy, code, tt.code, &out)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: without %q:\n%s", tt.policy, want, &out)
			}
		}
	}
}

// FuzzSituations: whatever a table says, it is refused or judged.
func FuzzSituations(f *testing.F) {
	f.Add("[[case]]\nstate = \"Claimed/Busy\"\nfor = \"1h\"\nat = \"Mon 12:00\"\nfacts = { KeyboardIdle = 0, X = \"undefined\" }\njob = { Owner = \"a\" }\nexpect = \"run\"")
	f.Add("[[case]]\nfacts = { LoadAvg = 1e300 }")
	p, err := policy.Derive(policy.File{Preset: policy.Office})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var table situations
		if config.Decode("t.toml", []byte(text), &table) != nil {
			return
		}
		for _, s := range table.Cases {
			if v := s.judge(p); v.check() != nil {
				t.Errorf("the verdict is %q", v)
			}
		}
	})
}

// A misspelt fact would change nothing, and the table would still be as expected.
func TestMisspeltFact(t *testing.T) {
	dir := t.TempDir()
	file, table := filepath.Join(dir, "policy.toml"), filepath.Join(dir, "table.toml")
	for _, tt := range []struct{ policy, facts, want string }{
		{"", "{ KeybordIdle = 0 }", `no machine has KeybordIdle`},
		{"", "{ keyboardidle = 86400 }", ""},
		{"[machine]\nRoom = 'A'\n", "{ Room = 'B' }", ""},
		{"[expressions]\nRANK = 'Licences'\n", "{ Licences = 3 }", ""},
	} {
		for path, text := range map[string]string{file: tt.policy, table: "[[case]]\nfacts = " + tt.facts + "\nexpect = 'start'\n"} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := testPolicy(&strings.Builder{}, file, table)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.facts, err, tt.want)
		}
	}
}
