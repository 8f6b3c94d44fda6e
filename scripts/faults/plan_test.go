//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

// A seed gives the same schedule each time, no two faults on a victim at a time, and at least one machine whole.
func TestPlan(t *testing.T) {
	all, err := parseKinds("")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(100) {
		schedule := plan(seed, machines, 20*time.Second, all)
		again := plan(seed, machines, 20*time.Second, all)
		free := map[target]time.Duration{}
		for i, f := range schedule {
			if f != again[i] {
				t.Fatalf("seed %d: %v the first time, %v the second", seed, f, again[i])
			}
			on := target{f.victim, f.machine}
			if free[on] > f.at {
				t.Errorf("seed %d: %v strikes what has not recovered", seed, f)
			}
			free[on] = f.at + f.lasts + f.victim.recovery()
			whole := 0
			for m := range machines {
				if free[target{aMachine, m}] <= f.at {
					whole++
				}
			}
			if whole == 0 {
				t.Errorf("seed %d: after %v no machine is whole", seed, f)
			}
		}
	}
	if _, err := parseKinds("sleep,flood"); err == nil || !strings.Contains(err.Error(), "flood") {
		t.Errorf("an unknown kind: %v", err)
	}
}

// The hundred seeds of 20 s that a full run has are enough of each kind, also when a quarter of them finds nothing to
// strike.
func TestPlanOfAFullRun(t *testing.T) {
	all, err := parseKinds("")
	if err != nil {
		t.Fatal(err)
	}
	count := map[kind]int{}
	sum := 0
	for seed := uint64(1); seed <= 100; seed++ {
		for _, f := range plan(seed, machines, 20*time.Second, all) {
			count[f.kind]++
			sum++
		}
	}
	for _, k := range all {
		t.Logf("%-20s %d", k, count[k])
		if count[k] < 50*4/3 {
			t.Errorf("%d faults of the kind %s are planned, want at least %d", count[k], k, 50*4/3)
		}
	}
	if sum < 2000*5/4 {
		t.Errorf("%d faults are planned, want at least %d", sum, 2000*5/4)
	}
}
