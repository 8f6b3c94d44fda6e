//go:build linux

package main

import (
	"slices"
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
	if err := buildPrograms(t.Context(), bin, false); err != nil {
		t.Fatal(err)
	}
	kinds, err := parseKinds("")
	if err != nil {
		t.Fatal(err)
	}
	// A runtime with another clock takes a minute to build.
	kinds = slices.DeleteFunc(kinds, func(k kind) bool { return k == clockHead || k == clockMachine })
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
