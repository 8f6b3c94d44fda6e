//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

// good is what an undisturbed job of two steps leaves behind.
func good() records {
	return records{
		accepted: map[string]string{"1.0": "a"},
		steps:    2,
		journal:  journal("a n1 0", "a n1 1", "a n1 2", "a n1 3"),
		history:  map[string][]row{"1.0": {{status: statusCompleted, starts: 1}}},
		outputs:  map[string]string{"a": "a made 2 steps\n"},
		logs:     map[string]string{"a": "000 (1.0) submitted\n...\n005 (1.0) terminated\n...\n"},
		removed:  map[string]bool{},
		queue:    map[string]row{},
	}
}

// journal makes entries a second apart from "name nonce step".
func journal(lines ...string) []entry {
	var all []entry
	for i, line := range lines {
		f := strings.Fields(line)
		all = append(all, entry{name: f[0], nonce: f[1], step: int(f[2][0] - '0'), at: time.Unix(int64(i), 0)})
	}
	return all
}

// Every way in which a pool could break its word must be seen, and what it may do must pass.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name          string
		change        func(*records)
		lost, doubled int
		violations    int
	}{
		{"an undisturbed job", func(*records) {}, 0, 0, 0},
		{"started again from its beginning", func(r *records) {
			r.journal = journal("a n1 0", "a n1 1", "a n2 0", "a n2 1", "a n2 2", "a n2 3")
			r.history["1.0"][0].starts = 2
		}, 0, 0, 0},
		{"gone on from an image that is a step old", func(r *records) {
			r.journal = journal("a n1 0", "a n1 1", "a n1 2", "a n1 2", "a n1 3")
			r.history["1.0"][0].starts = 2
		}, 0, 0, 0},
		{"a step in the moment in which its machine woke", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n1 1", "a n2 1", "a n2 2", "a n2 3")
			r.history["1.0"][0].starts = 2
			r.wakes = []time.Time{time.Unix(2, 0).Add(-time.Millisecond)}
		}, 0, 0, 0},
		{"removed because its user said so", func(r *records) {
			r.history["1.0"][0].status, r.removed["1.0"] = statusRemoved, true
			r.logs["a"] = "000 (1.0) submitted\n...\n009 (1.0) aborted\n...\n"
		}, 0, 0, 0},

		{"forgotten", func(r *records) { delete(r.history, "1.0") }, 1, 0, 1},
		{"never ended", func(r *records) { r.queue["1.0"] = row{status: 1} }, 1, 0, 1},
		{"completed twice", func(r *records) { r.history["1.0"] = append(r.history["1.0"], r.history["1.0"][0]) }, 0, 1, 1},
		{"completed twice in the log", func(r *records) { r.logs["a"] += "005 (1.0) terminated\n...\n" }, 0, 1, 1},
		{"completed without the last step", func(r *records) { r.journal = r.journal[:3] }, 1, 0, 1},
		{"completed without output", func(r *records) { r.outputs["a"] = "" }, 1, 0, 1},
		{"removed though nobody asked", func(r *records) {
			r.history["1.0"][0].status = statusRemoved
			r.logs["a"] = "000 (1.0) submitted\n...\n009 (1.0) aborted\n...\n"
		}, 1, 0, 1},
		{"completed though it is removed", func(r *records) { r.removed["1.0"] = true }, 0, 0, 1},
		{"failed by itself", func(r *records) { r.history["1.0"][0].exit = 1 }, 1, 0, 1},
		{"no end in the log", func(r *records) { r.logs["a"] = "000 (1.0) submitted\n...\n" }, 0, 0, 1},
		{"a torn log", func(r *records) { r.logs["a"] = "000 (1.0) submitted\n...\n005 (1.0) termi" }, 0, 0, 1},
		{"two copies at a time", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n1 1", "a n2 1", "a n2 2", "a n2 3")
			r.history["1.0"][0].starts = 2
		}, 0, 1, 1},
		{"two copies of one image at a time", func(r *records) {
			r.journal = journal("a n1 0", "a n1 1", "a n1 2", "a n1 1", "a n1 3", "a n1 2", "a n1 3")
			r.history["1.0"][0].starts = 2
		}, 0, 1, 1},
		{"two copies at a time after its machine woke", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n1 1", "a n2 1", "a n2 2", "a n2 3")
			r.history["1.0"][0].starts = 2
			r.wakes = []time.Time{time.Unix(1, 0), time.Unix(3, 0)}
		}, 0, 1, 1},
		{"a run that the matchmaker knows nothing of", func(r *records) {
			r.journal = journal("a n1 0", "a n2 0", "a n2 1", "a n2 2", "a n2 3")
		}, 0, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good()
			tt.change(&r)
			v := judge(r)
			if v.lost != tt.lost || v.doubled != tt.doubled || len(v.violations) != tt.violations {
				t.Errorf("lost %d, doubled %d, violations %q; want %d, %d and %d of them", v.lost, v.doubled, v.violations, tt.lost, tt.doubled, tt.violations)
			}
		})
	}
}

// A seed gives the same schedule each time, with something of every kind over some seeds, no two faults on a
// victim at a time, and at least one machine whole.
func TestPlan(t *testing.T) {
	all, err := parseKinds("")
	if err != nil {
		t.Fatal(err)
	}
	count := map[kind]int{}
	for seed := range uint64(100) {
		schedule := plan(seed, machines, 20*time.Second, all)
		again := plan(seed, machines, 20*time.Second, all)
		struck := map[int]time.Duration{}
		for i, f := range schedule {
			if f != again[i] {
				t.Fatalf("seed %d: %v the first time, %v the second", seed, f, again[i])
			}
			count[f.kind]++
			if f.machine < 0 {
				continue
			}
			if struck[f.machine] > f.at {
				t.Errorf("seed %d: %v strikes a machine that has not recovered", seed, f)
			}
			struck[f.machine] = f.at + f.lasts
			whole := 0
			for m := range machines {
				if struck[m] <= f.at {
					whole++
				}
			}
			if whole == 0 {
				t.Errorf("seed %d: after %v no machine is whole", seed, f)
			}
		}
	}
	for _, k := range all {
		if count[k] < 50 {
			t.Errorf("%d faults of the kind %s in 100 seeds, want at least 50", count[k], k)
		}
	}
	if _, err := parseKinds("sleep,flood"); err == nil || !strings.Contains(err.Error(), "flood") {
		t.Errorf("an unknown kind: %v", err)
	}
}
