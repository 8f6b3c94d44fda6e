package queue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"skua/internal/job"
)

// Line is the record as one line of JSON: the event as it was written, with its number first. One that is not whole
// has what is wrong with it, and its bytes as far as they are there.
//
//	{"seq":12,"v":1,"at":"2026-11-22T09:00:00Z","kind":"held", ... ,"sum":"..."}
//	{"seq":13,"damaged":"it is missing"}
func (r Record) Line() []byte {
	if r.Bad == "" && bytes.HasPrefix(r.Data, []byte("{")) {
		line := append([]byte(`{"seq":`), strconv.FormatUint(r.Seq, 10)...)
		return append(append(append(line, ','), r.Data[1:]...), '\n')
	}
	line, err := json.Marshal(struct {
		Seq     uint64 `json:"seq"`
		Damaged string `json:"damaged"`
		Data    []byte `json:"data,omitempty"` // in base64
	}{r.Seq, r.Bad, r.Data})
	if err != nil {
		return nil // cannot be: nothing of it has a marshaller
	}
	return append(line, '\n')
}

// Event decodes the record as far as it can be: a damaged one may still be readable.
func (r Record) Event() (ev job.Event, ok bool) {
	if r.Data == nil || ev.UnmarshalJSON(r.Data) != nil {
		return ev, false
	}
	ev.Seq = r.Seq
	return ev, true
}

// About says whether the event is about a job; a negative proc means any job of the cluster.
func About(ev job.Event, cluster, proc int) bool {
	if c, ok := job.ClusterOf(ev.Body); !ok || c != cluster {
		return false
	}
	jobs := ev.Body.Jobs()
	return proc < 0 || len(jobs) == 0 || slices.Contains(jobs, job.ID{Cluster: cluster, Proc: proc})
}

// Losses sums up what events said that are dropped.
type Losses struct {
	Readable, Unreadable int

	clusters []string         // that were submitted
	ended    map[job.ID]bool  // jobs of which the end was recorded
	jobs     map[job.ID]bool  // others of which something was
	kinds    map[string]int   // how many events of each kind
	gone     map[int]struct{} // numbers of the clusters
}

func (l *Losses) add(r Record) {
	ev, ok := r.Event()
	if !ok {
		l.Unreadable++
		return
	}
	l.Readable++
	if l.kinds == nil {
		l.kinds, l.ended, l.jobs, l.gone = map[string]int{}, map[job.ID]bool{}, map[job.ID]bool{}, map[int]struct{}{}
	}
	l.kinds[ev.Body.Kind()]++
	switch b := ev.Body.(type) {
	case *job.Submitted:
		l.gone[b.Cluster] = struct{}{}
		l.clusters = append(l.clusters, fmt.Sprintf("cluster %d, %d job(s) of %s", b.Cluster, b.Count(), b.Owner))
	case *job.Ended:
		l.note(l.ended, b.Job)
	default:
		for _, id := range b.Jobs() {
			l.note(l.jobs, id)
		}
	}
}

func (l *Losses) note(in map[job.ID]bool, id job.ID) {
	if _, gone := l.gone[id.Cluster]; !gone {
		in[id] = true
	}
}

// Lines say it in plain words, a line for each kind of loss.
func (l *Losses) Lines() []string {
	var lines []string
	if len(l.clusters) > 0 {
		lines = append(lines, "submits are lost, which must be repeated: "+few(l.clusters))
	}
	if len(l.ended) > 0 {
		lines = append(lines, "results are lost, and these jobs run again: "+few(names(l.ended)))
	}
	others := map[job.ID]bool{}
	for id := range l.jobs {
		if !l.ended[id] {
			others[id] = true
		}
	}
	if len(others) > 0 {
		lines = append(lines, "these jobs are again as they were before: "+few(names(others)))
	}
	if n := l.kinds[(&job.Factored{}).Kind()]; n > 0 {
		lines = append(lines, fmt.Sprintf("%d setting(s) of users' factors are lost: see skua-matchmaker users", n))
	}
	if l.Unreadable > 0 {
		lines = append(lines, fmt.Sprintf("%d event(s) cannot be read: nobody can say what is lost with them", l.Unreadable))
	}
	return lines
}

func names(set map[job.ID]bool) []string {
	ids := make([]job.ID, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, job.ID.Compare)
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = id.String()
	}
	return text
}

// few lists things, the first of them if there are many.
func few(all []string) string {
	const enough = 20
	if len(all) > enough {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:enough], ", "), len(all)-enough)
	}
	return strings.Join(all, ", ")
}
