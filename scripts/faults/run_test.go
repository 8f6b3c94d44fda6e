//go:build linux

package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"skua/internal/netlab"
)

// TestSeed runs a short schedule of every kind of fault against a real pool, as "make faults" does many long
// ones.
func TestSeed(t *testing.T) {
	if err := netlab.Possible(); err != nil {
		t.Skip(err)
	}
	bin := t.TempDir()
	for program, pkg := range map[string]string{"skua": "submit", "skua-agent": "agent", "skua-matchmaker": "matchmaker"} {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, program), "./"+pkg)
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", program, err, out)
		}
	}
	kinds, err := parseKinds("")
	if err != nil {
		t.Fatal(err)
	}
	got, err := runSeed(t.Context(), seedConfig{seed: 3, bin: bin, length: 15 * time.Second, kinds: kinds})
	if err != nil {
		t.Fatal(err)
	}
	if got.lost+got.doubled+len(got.violations) > 0 {
		t.Errorf("lost %d, doubled %d: %q", got.lost, got.doubled, got.violations)
	}
	if got.jobs == 0 || len(got.injected) < 3 {
		t.Errorf("%d jobs were accepted and these faults injected: %v", got.jobs, got.injected)
	}
}
