package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// slotTotals counts slots by platform and state.
type slotTotals struct {
	by        map[string]map[string]int
	all       map[string]int
	suspended int
}

func (s *slotTotals) add(arch, opSys, state, activity string) {
	if s.by == nil {
		s.by, s.all = map[string]map[string]int{}, map[string]int{}
	}
	kind := arch + "/" + opSys
	if s.by[kind] == nil {
		s.by[kind] = map[string]int{}
	}
	s.by[kind][state]++
	s.all[state]++
	if activity == "Suspended" {
		s.suspended++
	}
}

// slotStates are the states in the order of HTCondor's totals, with the headings there. Ours leaves out
// those that slots here are never in.
var slotStates = []struct {
	state, head string
	ours        bool
}{
	{"Owner", "Owner", true},
	{"Claimed", "Claimed", true},
	{"Unclaimed", "Unclaimed", true},
	{"Matched", "Matched", false},
	{"Preempting", "Preempting", true},
	{"Drained", " Drain", true},
	{"Backfill", "Backfill", false},
	{"BkIdle", "BkIdle", false},
}

// print writes the numbers, and in our own form what they mean for jobs. Alone says that there is no
// table above.
func (s *slotTotals) print(a *app, condor bool, cutAt int, alone bool) error {
	heads := []string{"", "Total"}
	var states []string
	for _, st := range slotStates {
		if condor || st.ours {
			heads, states = append(heads, st.head), append(states, st.state)
		}
	}
	t := newTable(heads...)
	t.cutAt, t.gap = cutAt, condor
	t.least[0] = 14
	for i := range heads {
		t.right[i] = true
	}
	kinds := slices.Sorted(maps.Keys(s.by))
	for _, kind := range kinds {
		t.add(totalsLine(kind, s.by[kind], states)...)
	}
	if condor {
		t.add()
	}
	if condor || len(kinds) > 1 {
		t.add(totalsLine("Total", s.all, states)...)
	}
	if condor || !alone {
		fmt.Fprintln(a.out)
	}
	if err := t.write(a.out); err != nil {
		return err
	}
	if condor {
		return nil
	}
	owner, frozen := s.all["Owner"], s.suspended
	if owner+frozen > 0 {
		fmt.Fprintln(a.out)
	}
	const because = "somebody uses the machine, or its policy lets no jobs run now"
	switch {
	case owner == 1:
		fmt.Fprintln(a.out, "1 slot is with its owner:", because)
	case owner > 1:
		fmt.Fprintf(a.out, "%d slots are with their owners: %s\n", owner, because)
	}
	switch {
	case frozen == 1:
		fmt.Fprintln(a.out, "1 slot has a job that is frozen, for its owner or as its user wants")
	case frozen > 1:
		fmt.Fprintf(a.out, "%d slots have a job that is frozen, for their owners or as their users want\n", frozen)
	}
	return nil
}

func totalsLine(name string, n map[string]int, states []string) []string {
	total := 0
	for _, c := range n {
		total += c
	}
	cells := []string{name, strconv.Itoa(total)}
	for _, st := range states {
		cells = append(cells, strconv.Itoa(n[st]))
	}
	return cells
}
