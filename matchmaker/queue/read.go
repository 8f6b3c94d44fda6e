package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"skua/internal/bus"
	"skua/internal/job"
)

// Last gives the sequence of the last event that the state includes, and a channel that is closed when
// there are more.
func (q *Queue) Last() (seq uint64, more <-chan struct{}) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.state.seq, q.grown
}

// Job gives one job.
func (q *Queue) Job(id job.ID) (*job.Job, bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	j := q.state.job(id)
	return j, j != nil
}

// Owns says whether a user has a cluster of which jobs are known, or to come.
func (q *Queue) Owns(user job.UserID, cluster int) bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	c := q.state.clusters[cluster]
	return c != nil && c.User == user
}

// Stirred calls f with the jobs that have not ended and to which something has happened, in no order, until it is
// false.
func (q *Queue) Stirred(f func(*job.Job) bool) {
	var all []*job.Job
	q.mu.RLock()
	for _, c := range q.state.inOrder {
		for _, j := range c.jobs {
			if !j.State.Ended() {
				all = append(all, j)
			}
		}
	}
	q.mu.RUnlock()
	for _, j := range all {
		if !f(j) {
			return
		}
	}
}

// Filter says which jobs [Queue.Walk] shows.
type Filter struct {
	User  job.UserID // whose; "" for all users'
	Live  bool       // those that have not ended
	Ended bool       // those that have
	After job.ID     // only later ones

	// Fleeting jobs are good while f looks at them only, which saves much where many are looked at.
	Fleeting bool

	// Clusters and Jobs are those that are meant; with neither, all are.
	Clusters []int
	Jobs     []job.ID
}

// walkAtOnce is how many jobs are looked at without letting the committer go on.
const walkAtOnce = 1000

// Walk calls f with jobs in the order of ids until it is false. It holds few of them in memory at a time, and lets
// the queue change meanwhile: each job is as it is when its turn comes.
func (q *Queue) Walk(filter Filter, f func(*job.Job) bool) {
	if len(filter.Clusters) == 0 && len(filter.Jobs) > 0 {
		q.walkNamed(filter, f)
		return
	}
	named := map[int]bool{} // clusters; those of jobs among them
	for _, c := range filter.Clusters {
		named[c] = true
	}
	for _, id := range filter.Jobs {
		named[id.Cluster] = true
	}
	after := filter.After
	items := make([]item, 0, walkAtOnce)
	var scratch job.Scratch
	for {
		items = items[:0]
		q.mu.RLock()
		for _, c := range q.state.clustersOf(filter.User, after.Cluster) {
			if len(named) > 0 && !named[c.Number] {
				continue
			}
			proc := -1
			if c.Number == after.Cluster {
				proc = after.Proc
			}
			if !c.walk(proc, filter.Live, filter.Ended, func(i item) bool {
				if filter.names(job.ID{Cluster: c.Number, Proc: i.proc}) {
					items = append(items, i)
				}
				after = job.ID{Cluster: c.Number, Proc: i.proc}
				return len(items) < walkAtOnce
			}) {
				break
			}
		}
		q.mu.RUnlock()
		for _, i := range items {
			j := i.job
			switch {
			case j != nil:
			case filter.Fleeting:
				j = scratch.Job(i.cluster, i.proc, i.entered)
			default:
				j = i.cluster.Job(i.proc, i.entered)
			}
			if !f(j) {
				return
			}
		}
		if len(items) < walkAtOnce {
			return
		}
	}
}

// walkNamed is Walk for a few jobs.
func (q *Queue) walkNamed(filter Filter, f func(*job.Job) bool) {
	ids := slices.SortedFunc(slices.Values(filter.Jobs), job.ID.Compare)
	for _, id := range slices.Compact(ids) {
		j, ok := q.Job(id)
		if !ok || filter.User != "" && j.User != filter.User || id.Compare(filter.After) <= 0 && filter.After.Cluster > 0 ||
			j.State.Ended() && !filter.Ended || !j.State.Ended() && !filter.Live {
			continue
		}
		if !f(j) {
			return
		}
	}
}

// names says whether a job of a cluster that is named is meant itself.
func (f *Filter) names(id job.ID) bool {
	return len(f.Jobs) == 0 || slices.Contains(f.Clusters, id.Cluster) || slices.Contains(f.Jobs, id)
}

// clustersOf gives the clusters of a user, all for "", from a number on.
func (s *state) clustersOf(user job.UserID, from int) []*cluster {
	list := s.owned[user]
	if user == "" {
		list = s.inOrder
	}
	i := sort.Search(len(list), func(i int) bool { return list[i].Number >= from })
	return list[i:]
}

// Jobs gives the jobs of a user that have not ended, in the order of ids; those of all users for "". It makes each
// of them: to look at many, use [Queue.Walk].
func (q *Queue) Jobs(user job.UserID) []*job.Job {
	var all []*job.Job
	q.mu.RLock()
	defer q.mu.RUnlock()
	for _, c := range q.state.clustersOf(user, 0) {
		c.walk(-1, true, false, func(i item) bool {
			all = append(all, c.job(i.proc))
			return true
		})
	}
	return all
}

// History gives the jobs of a user that have ended, the last one first; those of all users for "".
func (q *Queue) History(user job.UserID) []*job.Job {
	var all []*job.Job
	q.mu.RLock()
	for _, j := range q.state.ended {
		if user == "" || j.User == user {
			all = append(all, j)
		}
	}
	q.mu.RUnlock()
	slices.SortFunc(all, func(a, b *job.Job) int {
		return cmp.Or(b.Ended.Compare(a.Ended), b.ID.Compare(a.ID))
	})
	return all
}

// Idle gives the jobs that could be offered now, in the order of ids. It makes each of them: to look at many, use
// [Queue.Waiting].
func (q *Queue) Idle() []*job.Job {
	all := q.Jobs("")
	return slices.DeleteFunc(all, func(j *job.Job) bool { return !offerable(j) })
}

// Claimed gives the jobs that have a claim, offered, running or lapsed, in the order of ids.
func (q *Queue) Claimed() []*job.Job {
	q.mu.RLock()
	all := slices.Collect(maps.Values(q.state.claimed))
	q.mu.RUnlock()
	return byID(all)
}

// Lingering gives the jobs from which a claim was taken that may still be running, in the order of ids.
func (q *Queue) Lingering() []*job.Job {
	q.mu.RLock()
	all := slices.Collect(maps.Values(q.state.lingers))
	q.mu.RUnlock()
	return byID(all)
}

func byID(jobs []*job.Job) []*job.Job {
	slices.SortFunc(jobs, func(a, b *job.Job) int { return a.ID.Compare(b.ID) })
	return jobs
}

// UserOf says whose jobs an event is about; false for one about no job.
func (q *Queue) UserOf(ev job.Event) (job.UserID, bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	user := q.state.userOf(ev)
	return user, user != ""
}

// Page is a part of a user's events.
type Page struct {
	Events []job.Event
	Next   uint64 // ask for what comes after this
	More   bool   // there is more to ask for
}

// maxScan is how many events of the log one call of [Queue.Events] reads when the recent ones in memory
// do not reach back far enough.
const maxScan = 20_000

// Events gives at most limit events about jobs of a user after the sequence after; about all jobs for
// "". Events of clusters whose jobs have been forgotten are included.
func (q *Queue) Events(ctx context.Context, user job.UserID, after uint64, limit int) (Page, error) {
	q.mu.RLock()
	last := q.state.seq
	page, ok := q.recent.page(user, after, last, limit)
	q.mu.RUnlock()
	if ok {
		return page, nil
	}
	page = Page{Next: after}
	enough := errors.New("enough")
	err := q.read(ctx, after+1, func(seq uint64, data []byte) error {
		if len(page.Events) >= limit || seq > after+maxScan || seq > last {
			return enough
		}
		var ev job.Event
		if err := ev.UnmarshalJSON(data); err != nil {
			return fmt.Errorf("queue log, event %d: %w", seq, err)
		}
		ev.Seq = seq
		page.Next = seq
		q.mu.RLock()
		defer q.mu.RUnlock()
		if user == "" || q.state.userOf(ev) == user {
			page.Events = append(page.Events, ev)
		}
		return nil
	})
	var gap *bus.GapError
	if errors.As(err, &gap) && gap.Next > 0 {
		// Events that a start does not need and that nothing has any more: who follows must get past them.
		q.log.Warn("events that were asked for are lost", "from", gap.From, "to", gap.Next-1)
		page.Next, err = gap.Next-1, nil
	}
	if err != nil && err != enough {
		return Page{}, fmt.Errorf("events after %d: %w", after, err)
	}
	page.More = page.Next < last
	return page, nil
}

// recent is the last events of the log, so that those who follow it are served from memory. It is bounded by
// the size of the events as logged.
type recent struct {
	entries []recentEvent // without gaps, up to the last event
	bytes   int
}

type recentEvent struct {
	ev   job.Event
	user job.UserID
	size int
}

const (
	maxRecent      = 16 << 10 // events
	maxRecentBytes = 16 << 20
)

func (r *recent) add(ev job.Event, size int, user job.UserID) {
	r.entries = append(r.entries, recentEvent{ev, user, size})
	r.bytes += size
	for len(r.entries) > maxRecent || r.bytes > maxRecentBytes {
		r.bytes -= r.entries[0].size
		r.entries[0] = recentEvent{} // for the collector
		r.entries = r.entries[1:]
	}
}

// page is false when the events after the given one are not all here.
func (r *recent) page(user job.UserID, after, last uint64, limit int) (Page, bool) {
	p := Page{Next: last}
	if after >= last {
		p.Next = after
		return p, true
	}
	if len(r.entries) == 0 || r.entries[0].ev.Seq > after+1 {
		return Page{}, false
	}
	for _, e := range r.entries[after+1-r.entries[0].ev.Seq:] {
		if user != "" && e.user != user {
			continue
		}
		if len(p.Events) >= limit {
			p.Next, p.More = p.Events[len(p.Events)-1].Seq, true
			return p, true
		}
		p.Events = append(p.Events, e.ev)
	}
	return p, true
}
