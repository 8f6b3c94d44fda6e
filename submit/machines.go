package main

import (
	"slices"
	"strconv"
	"strings"
)

// machineColumn is a column of --compact, which has a line for each machine. Its value comes of those of the
// machine's slots, which merge adds to each other; nil keeps the first.
type machineColumn struct {
	column
	merge  func(sum, next string) string
	condor bool // only in HTCondor's form
}

var machineColumns = []machineColumn{
	{column: column{head: "Machine", least: -17, from: []string{"Machine"}, show: first}},
	{column: column{head: "Platform", least: -12, from: []string{`strcat(Arch, "/", OpSysAndVer ?: OpSys)`}, show: platformOf}},
	{column: column{head: "Slots", least: 5, from: []string{"ifThenElse(PartitionableSlot =?= true, 0, 1)"}, show: first}, merge: sumOf}, // a partitionable one runs nothing
	{column: column{head: "Cpus", least: 4, from: []string{"TotalCpus ?: Cpus"}, show: first}},
	{column: column{head: "Gpus", least: 4, from: []string{"TotalGpus ?: 0"}, show: first}, condor: true},
	{column: column{head: "TotalGb", least: 8, from: []string{"TotalMemory ?: Memory"}, show: gigabytes}},
	{column: column{head: "FreCpu", least: 6, from: []string{`ifThenElse(State == "Unclaimed", Cpus, 0)`}, show: first}, merge: sumOf},
	{column: column{head: "FreeGb", least: 7, from: []string{`ifThenElse(State == "Unclaimed", Memory, 0)`}, show: gigabytes}, merge: sumOf},
	{column: column{head: "CpuLoad", least: 8, from: []string{"LoadAvg"}, show: hundredths}, merge: largerOf}, // each slot tells its machine's
	{column: column{head: "ST", least: -2, from: []string{`strcat(substr(State, 0, 1), toLower(substr(Activity, 0, 1)))`}, show: first}, merge: sameOr},
	{column: column{head: "Jobs/Min", least: -8, from: []string{"undefined"}, show: func([]string) string { return "_" }}, condor: true}, // not counted
	{column: column{head: "MaxSlotGb", least: 9, from: []string{"ifThenElse(PartitionableSlot =?= true, 0, Memory)"}, show: gigabytes}, merge: largerOf},
}

// machineTable is the columns of --compact.
func machineTable(condor bool) (cols []machineColumn, v view) {
	for _, c := range machineColumns {
		if !c.condor || condor {
			cols, v = append(cols, c), append(v, c.column)
		}
	}
	return cols, v
}

// byMachine puts the rows of slots together to one for each machine, in the order in which machines come
// first. The first values of a row are those of cols.
func byMachine(rows [][]string, cols []machineColumn) [][]string {
	var out [][]string
	at := map[string]int{}
	for _, r := range rows {
		i, ok := at[r[0]]
		if !ok {
			at[r[0]] = len(out)
			out = append(out, slices.Clone(r[:len(cols)]))
			continue
		}
		for col, c := range cols {
			if c.merge != nil {
				out[i][col] = c.merge(out[i][col], r[col])
			}
		}
	}
	return out
}

func sumOf(a, b string) string {
	x, _ := realOf(a)
	y, _ := realOf(b)
	return strconv.FormatFloat(x+y, 'f', -1, 64)
}

func largerOf(a, b string) string {
	x, _ := realOf(a)
	if y, _ := realOf(b); y > x {
		return b
	}
	return a
}

func sameOr(a, b string) string {
	if a != b {
		return `"**"`
	}
	return a
}

func platformOf(v []string) string { return strings.Replace(textOf(v[0]), "X86_64/", "x64/", 1) }

func hundredths(v []string) string {
	f, _ := realOf(v[0])
	return strconv.FormatFloat(f, 'f', 2, 64)
}

func gigabytes(v []string) string {
	mb, _ := realOf(v[0])
	return strconv.FormatFloat(mb/1024, 'f', 2, 64)
}
