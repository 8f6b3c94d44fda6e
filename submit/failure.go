package main

import (
	"fmt"
	"slices"

	"skua/internal/job"
)

// failure is a job that did not end well, and what became of it.
type failure struct {
	id   job.ID // zero when what says of whom it is
	verb string // such as is
	what string
}

// told says each failure, and what became of several jobs once.
func told(fails []failure) []string {
	var order []failure
	of := map[failure][]job.ID{}
	for _, f := range fails {
		same := failure{verb: f.verb, what: f.what}
		if of[same] == nil {
			order = append(order, same)
		}
		of[same] = append(of[same], f.id)
	}
	var lines []string
	for _, f := range order {
		verb, ids := f.verb, of[f]
		switch {
		case verb == "":
			lines = append(lines, f.what)
			continue
		case len(ids) > 1 && verb == "is":
			verb = "are"
		case len(ids) > 1 && verb == "was":
			verb = "were"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", jobsNamed(ids), verb, f.what))
	}
	return lines
}

// jobsNamed names jobs as "job 12.0" or "jobs 12.0-12.9".
func jobsNamed(ids []job.ID) string {
	if len(ids) == 1 {
		return "job " + ids[0].String()
	}
	return "jobs " + ranges(slices.SortedFunc(slices.Values(ids), job.ID.Compare))
}
