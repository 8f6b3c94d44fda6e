package queue

import (
	"maps"
	"slices"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/matchmaker/negotiate"
)

// Some of what a snapshot has to keep grows with every cluster that events are kept of, so that it gets lines of its own,
// of a length that does not grow.

// listsPerLine is how many entries of the lists one line has. The longest entry, a request, takes less than a kilobyte.
const listsPerLine = 10_000

type (
	snapshotLists struct {
		Users    map[int]job.UserID               `json:"users,omitempty"`
		Past     []pastCluster                    `json:"past,omitempty"` // builds that did not know of it forgot no user
		Tables   map[blob.Digest]uint64           `json:"tables,omitempty"`
		History  []job.ID                         `json:"history,omitempty"`
		Requests []snapshotRequest                `json:"requests,omitempty"`
		Accounts map[job.UserID]negotiate.Account `json:"accounts,omitempty"`
		Runs     map[job.ID]snapshotRun           `json:"runs,omitempty"`
	}
	snapshotRequest struct {
		User    job.UserID `json:"user"`
		Request string     `json:"request"`
		Cluster int        `json:"cluster"`
		Seq     uint64     `json:"seq"`
	}
	snapshotRun struct {
		CPUs   float64 `json:"cpus"`
		Counts bool    `json:"counts"`
	}
)

// split gives the same lists in parts with at most n entries each.
func (l *snapshotLists) split(n int) (parts []snapshotLists) {
	for _, m := range splitMap(l.Users, n) {
		parts = append(parts, snapshotLists{Users: m})
	}
	for list := range slices.Chunk(l.Past, n) {
		parts = append(parts, snapshotLists{Past: list})
	}
	for _, m := range splitMap(l.Tables, n) {
		parts = append(parts, snapshotLists{Tables: m})
	}
	for list := range slices.Chunk(l.History, n) {
		parts = append(parts, snapshotLists{History: list})
	}
	for list := range slices.Chunk(l.Requests, n) {
		parts = append(parts, snapshotLists{Requests: list})
	}
	for _, m := range splitMap(l.Accounts, n) {
		parts = append(parts, snapshotLists{Accounts: m})
	}
	for _, m := range splitMap(l.Runs, n) {
		parts = append(parts, snapshotLists{Runs: m})
	}
	return parts
}

// splitMap gives the same map in parts with at most n entries each.
func splitMap[K comparable, V any](m map[K]V, n int) (parts []map[K]V) {
	for k, v := range m {
		if last := len(parts) - 1; last < 0 || len(parts[last]) == n {
			parts = append(parts, make(map[K]V, min(n, len(m))))
		}
		parts[len(parts)-1][k] = v
	}
	return parts
}

// restoreLists adds what one line has of the lists.
func (s *state) restoreLists(l *snapshotLists) {
	maps.Copy(s.users, l.Users)
	maps.Copy(s.named, l.Tables)
	maps.Copy(s.accounts.users, l.Accounts)
	s.past = append(s.past, l.Past...)
	s.history = append(s.history, l.History...)
	for _, r := range l.Requests {
		s.remember(requestKey{r.User, r.Request}, Receipt{r.Cluster, r.Seq})
	}
	for id, r := range l.Runs {
		s.accounts.runs[id] = run{r.CPUs, r.Counts}
	}
}

// restorePast adds the clusters to those that have come to their end of which the snapshot of an older build does not say
// when that was.
func (s *state) restorePast() {
	known := make(map[int]bool, len(s.past))
	for _, p := range s.past {
		known[p.Number] = true
	}
	for _, number := range slices.Sorted(maps.Keys(s.users)) {
		if s.clusters[number] == nil && !known[number] {
			s.past = append(s.past, pastCluster{number, s.seq})
		}
	}
}
