package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
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
		fmt.Fprintln(a.out, "1 slot has a job that is frozen while somebody uses the machine")
	case frozen > 1:
		fmt.Fprintf(a.out, "%d slots have a job that is frozen while somebody uses the machine\n", frozen)
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

// machineView is the table of --compact: a line for each machine. Its rows are made by byMachine from those of
// its slots.
var machineView = view{
	{head: "Machine", least: -17, from: []string{"Machine"}, show: first},
	{head: "Platform", least: -12, from: []string{`strcat(Arch, "/", OpSysAndVer ?: OpSys)`}, show: func(v []string) string {
		return strings.Replace(textOf(v[0]), "X86_64/", "x64/", 1)
	}},
	{head: "Slots", least: 5, from: []string{"1"}, show: first},
	{head: "Cpus", least: 4, from: []string{"TotalCpus ?: Cpus"}, show: first},
	{head: "TotalGb", least: 8, from: []string{"TotalMemory ?: Memory"}, show: gigabytes},
	{head: "FreCpu", least: 6, from: []string{`ifThenElse(State == "Unclaimed", Cpus, 0)`}, show: first},
	{head: "FreeGb", least: 7, from: []string{`ifThenElse(State == "Unclaimed", Memory, 0)`}, show: gigabytes},
	{head: "CpuLoad", least: 8, from: []string{"LoadAvg"}, show: func(v []string) string {
		f, _ := realOf(v[0])
		return strconv.FormatFloat(f, 'f', 2, 64)
	}},
	{head: "ST", least: -2, from: []string{`strcat(substr(State, 0, 1), toLower(substr(Activity, 0, 1)))`}, show: first},
	{head: "MaxSlotGb", least: 9, from: []string{"Memory"}, show: gigabytes},
}

// byMachine puts the rows of slots together to one for each machine, which stand one after another. Of n
// values of a row those of machineView come first.
func byMachine(rows [][]string, n int) [][]string {
	const slots, freeCPU, freeMB, load, state, maxMB = 2, 5, 6, 7, 8, 9
	var out [][]string
	at := map[string]int{}
	for _, r := range rows {
		i, ok := at[r[0]]
		if !ok {
			at[r[0]] = len(out)
			out = append(out, slices.Clone(r[:n]))
			continue
		}
		m := out[i]
		for _, col := range []int{slots, freeCPU, freeMB} {
			m[col] = sumOf(m[col], r[col])
		}
		for _, col := range []int{load, maxMB} { // each slot tells its machine's load
			x, _ := realOf(r[col])
			if largest, _ := realOf(m[col]); x > largest {
				m[col] = r[col]
			}
		}
		if m[state] != r[state] {
			m[state] = `"**"`
		}
	}
	return out
}

func sumOf(a, b string) string {
	x, _ := realOf(a)
	y, _ := realOf(b)
	return strconv.FormatFloat(x+y, 'f', -1, 64)
}

func gigabytes(v []string) string {
	mb, _ := realOf(v[0])
	return strconv.FormatFloat(mb/1024, 'f', 2, 64)
}

func spanOf(v []string) string {
	secs, ok := realOf(v[0])
	if !ok {
		return ""
	}
	return span(time.Duration(secs) * time.Second)
}
