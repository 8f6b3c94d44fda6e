package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"skua/internal/diag"
	"skua/policy/classad"
)

// Written gives the expressions that a file has, by name.
func (e Expressions) Written() map[string]*classad.Expr {
	all := map[string]*classad.Expr{}
	for _, x := range new(Policy).listed(texts{}, e) {
		if x.written != nil && x.written.Expr != nil {
			all[x.name] = x.written.Expr
		}
	}
	return all
}

// jobNames are attributes of jobs that expressions may look at without TARGET.
var jobNames = []string{
	"Owner", "User", "AcctGroup", "AcctGroupUser", "AccountingGroup", "NiceUser", "JobPrio", "JobUniverse", "JobStatus", "JobBatchName",
	"RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs", "ImageSize", "DiskUsage", "MemoryUsage", "ClusterId", "ProcId", "QDate",
	"Cmd", "Args", "Iwd", "NumJobStarts", "RemoteWallClockTime", "JobStart", "ConcurrencyLimits", "WantCheckpoint",
}

// Doubts says what in a file is likely a mistake, though it may be meant: attributes in its expressions that no machine
// has, and sizes that stand in the way of [limits]. known are the attributes of machines, and probed says that this
// one may have others, of programs of its own: then only those are doubted that look like a known one.
func (f *File) Doubts(known []string, probed bool) []string {
	var machine []string
	if f.Machine.Ad != nil {
		machine = f.Machine.Names()
	}
	known = slices.Concat(known, machine, jobNames, []string{"CurrentTime"})
	var doubts []string
	written := f.Expressions.Written()
	for _, name := range slices.Sorted(maps.Keys(written)) {
		for _, attr := range written[name].References().My {
			if slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, attr) }) {
				continue
			}
			near := diag.Suggest(attr, known)
			switch {
			case near != "":
				doubts = append(doubts, fmt.Sprintf("expressions.%s: no machine has %s; did you mean %s?", name, attr, near))
			case !probed:
				doubts = append(doubts, fmt.Sprintf("expressions.%s: no machine has %s; an attribute of jobs is written TARGET.%s", name, attr, attr))
			}
		}
	}
	for _, name := range machine {
		if slices.ContainsFunc([]string{"Cpus", "Memory", "Disk"}, func(size string) bool { return strings.EqualFold(size, name) }) {
			doubts = append(doubts, fmt.Sprintf("machine.%s stands before what the machine has and [limits] grants; to give jobs a part of it, use [limits]", name))
		}
	}
	return doubts
}
