//go:build !windows

package main

import (
	"os"
	"path/filepath"
	"testing"

	"skua/packaging"
)

// The units beside the agent's come and go with it, also where an older agent has not brought them.
func TestPutUnits(t *testing.T) {
	dir := t.TempDir()
	for _, there := range []bool{false, true, true, false} {
		if err := putUnits(dir, there); err != nil {
			t.Fatal(err)
		}
		for name, want := range packaging.Units {
			if !there {
				want = ""
			}
			got, _ := os.ReadFile(filepath.Join(dir, name)) // "" when there is none
			if string(got) != want {
				t.Errorf("installed=%v: %s is %q, want %q", there, name, got, want)
			}
		}
	}
}
