package policy_test

import (
	"slices"
	"testing"

	"skua/policy"
	"skua/policy/config"
)

// What is likely misspelt is doubted, and what may be meant is not.
func TestDoubts(t *testing.T) {
	known := []string{"KeyboardIdle", "LoadAvg", "START", "State"}
	for _, tt := range []struct {
		name, file string
		probed     bool
		want       []string
	}{
		{"nothing written", `preset = "office"`, false, nil},
		{"what machines have", "[expressions]\nSTART = 'keyboardidle > 900 && MY.State == \"Owner\" && CurrentTime > 5'", false, nil},
		{"what jobs have", "[expressions]\nSTART = 'Owner == \"mira\" && TARGET.KeybordIdle > 1'", false, nil},
		{"what this file says", "[machine]\nRoom = 'B204'\n[expressions]\nRANK = 'Room =?= TARGET.Room'", false, nil},
		{"misspelt", "[expressions]\nSTART = 'KeybordIdle > 900'", true, []string{"expressions.START: no machine has KeybordIdle; did you mean KeyboardIdle?"}},
		{"letters exchanged", "[expressions]\nSUSPEND = '!STRAT'", false, []string{"expressions.SUSPEND: no machine has STRAT; did you mean START?"}},
		{"unknown", "[expressions]\nRANK = 'Project'", false, []string{"expressions.RANK: no machine has Project; an attribute of jobs is written TARGET.Project"}},
		{"perhaps of a probe", "[expressions]\nRANK = 'Project'", true, nil},
		{"a size", "[machine]\nMemory = 5", false, []string{"machine.Memory stands before what the machine has and [limits] grants; to give jobs a part of it, use [limits]"}},
	} {
		var f policy.File
		if err := config.Decode("p.toml", []byte(tt.file), &f); err != nil {
			t.Fatal(tt.name, err)
		}
		if got := f.Doubts(known, tt.probed); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, name := range []string{"CanRunJobs", "Owner", "PausedUntil"} {
		var f policy.File
		if err := config.Decode("p.toml", []byte("[machine]\n"+name+" = true"), &f); err == nil {
			t.Errorf("a file may set %s", name)
		}
	}
}
