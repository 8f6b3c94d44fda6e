package server

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// summaryRows counts the selected jobs by batch. Jobs to which nothing has happened are not looked at one by
// one unless a constraint or single ids ask for it. Pages are in the order of what stands for a batch for good, not of
// clusters: a batch with a name begins with another cluster as soon as its first one has ended. The rows of a page are
// in the order of clusters.
func (s *Server) summaryRows(p *page, user job.UserID, sel wire.Selection, match func(*job.Job) bool) {
	counts := s.cfg.Queue.Counts(user, sel.Clusters)
	if sel.Constraint != "" || len(sel.Jobs) > 0 {
		counts = s.countEach(user, sel, match)
	}
	type batch struct {
		cursor string
		row    *wire.BatchRow
	}
	var batches []batch
	byName := map[batchKey]*wire.BatchRow{}
	var why func(*job.Job) string
	for _, n := range counts {
		key := batchKey{n.User, batchName(n.First), 0}
		if key.name == "" {
			key.cluster = n.Cluster
		}
		row := byName[key]
		if row == nil {
			row = &wire.BatchRow{User: n.User, Owner: n.Owner, Name: key.name, First: n.Cluster, Submitted: n.Submitted}
			byName[key] = row
			batches = append(batches, batch{key.cursor(), row})
		}
		add(row, n)
		if row.Why == "" && n.FirstIdle != nil {
			if why == nil {
				why = s.reasons()
			}
			row.Why, row.FirstIdle = why(n.FirstIdle), n.FirstIdle.ID
		}
	}
	slices.SortFunc(batches, func(a, b batch) int { return strings.Compare(a.cursor, b.cursor) })
	var firsts []int
	for _, b := range batches {
		if b.cursor <= p.after {
			continue
		}
		had := len(p.result.Rows)
		if !p.add(b.cursor, b.row) {
			break
		}
		if len(p.result.Rows) > had {
			firsts = append(firsts, b.row.First)
		}
	}
	sort.Sort(byFirst{firsts, p.result.Rows})
}

// byFirst sorts rows by the first clusters of their batches.
type byFirst struct {
	firsts []int
	rows   []json.RawMessage
}

func (b byFirst) Len() int           { return len(b.firsts) }
func (b byFirst) Less(i, k int) bool { return b.firsts[i] < b.firsts[k] }
func (b byFirst) Swap(i, k int) {
	b.firsts[i], b.firsts[k] = b.firsts[k], b.firsts[i]
	b.rows[i], b.rows[k] = b.rows[k], b.rows[i]
}

// batchKey is what jobs of a batch have in common.
type batchKey struct {
	user    job.UserID
	name    string
	cluster int // of jobs without a name
}

// cursor stands for the batch on pages.
func (k batchKey) cursor() string {
	if k.name == "" {
		return fmt.Sprintf("c%020d", k.cluster)
	}
	sum := sha256.Sum256([]byte(string(k.user) + "\x00" + k.name)) // a name may be very long
	return fmt.Sprintf("n%x", sum[:16])
}

func batchName(j *job.Job) string {
	if j == nil {
		return ""
	}
	name, _ := text(j, "JobBatchName")
	return name
}

// text gives an attribute that may be an expression over what the queue adds to a job's ad: what has $(Cluster) in it
// is one. That ad is made only for an expression, since most texts are none, and clusters may be very many.
func text(j *job.Job, name string) (string, bool) {
	e, ok := j.Ad.Lookup(name)
	if !ok {
		return "", false
	}
	if v, ok := e.Literal(); ok {
		return v.Str()
	}
	return e.Eval(j.CurrentAd(), nil).Str()
}

// add counts a cluster in.
func add(row *wire.BatchRow, n queue.Count) {
	row.Last = n.Cluster
	if n.First != nil {
		if row.FirstJob == (job.ID{}) {
			row.FirstJob, row.Command = n.First.ID, commandLine(n.First)
		}
		row.LastJob = n.Last.ID
	}
	row.Total += n.Total
	row.Done += n.States[job.Completed]
	row.Removed += n.States[job.Removed]
	row.Running += n.States[job.Running] + n.States[job.TransferringOutput]
	row.Idle += n.States[job.Idle] + n.Late
	row.Held += n.States[job.Held]
	row.Suspended += n.States[job.Suspended]
	row.Late += n.Late
	if row.HeldWhy == "" && n.FirstHeld != nil {
		row.HeldWhy, row.FirstHeld = n.FirstHeld.HoldReason, n.FirstHeld.ID
	}
	if row.NoImage == "" && n.FirstNoImage != nil {
		row.NoImage = n.FirstNoImage.NoImage
	}
}

// countEach counts the jobs of a selection that have not ended by looking at each.
func (s *Server) countEach(user job.UserID, sel wire.Selection, match func(*job.Job) bool) []queue.Count {
	var all []queue.Count
	s.cfg.Queue.Walk(queue.Filter{User: user, Live: true, Clusters: sel.Clusters, Jobs: sel.Jobs}, func(j *job.Job) bool {
		if !match(j) {
			return true
		}
		last := len(all) - 1
		if last < 0 || all[last].Cluster != j.ID.Cluster {
			all = append(all, queue.Count{Cluster: j.ID.Cluster, User: j.User, Owner: j.Owner, Submitted: j.Submitted, First: j})
			last++
		}
		n := &all[last]
		n.Total++
		n.Present++
		n.States[j.State]++
		n.Last = j
		if j.State == job.Idle && n.FirstIdle == nil {
			n.FirstIdle = j
		}
		if j.State == job.Held && n.FirstHeld == nil {
			n.FirstHeld = j
		}
		if j.NoImage != "" && (j.State == job.Running || j.State == job.Suspended) && n.FirstNoImage == nil {
			n.FirstNoImage = j
		}
		return true
	})
	return all
}

// commandLine is what a job runs, as a person would write it.
func commandLine(j *job.Job) string {
	const longest = 1000
	cmd, _ := text(j, "Cmd")
	args, ok := text(j, "Arguments")
	if !ok {
		args, _ = text(j, "Args")
	}
	line := strings.TrimSpace(path.Base(cmd) + " " + args)
	return line[:min(len(line), longest)]
}
