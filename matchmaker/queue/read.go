package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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
	j, ok := q.state.jobs[id]
	return j, ok
}

// Jobs gives the jobs of a user that have not ended, in the order of ids; those of all users for "".
func (q *Queue) Jobs(user job.UserID) []*job.Job {
	var all []*job.Job
	q.mu.RLock()
	if user != "" {
		all = slices.Collect(maps.Values(q.state.live[user]))
	} else {
		for _, jobs := range q.state.live {
			all = slices.AppendSeq(all, maps.Values(jobs))
		}
	}
	q.mu.RUnlock()
	return byID(all)
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

// Idle gives the jobs that could be offered now, in the order of ids.
func (q *Queue) Idle() []*job.Job {
	q.mu.RLock()
	all := slices.Collect(maps.Values(q.state.idle))
	q.mu.RUnlock()
	return byID(all)
}

// Claimed gives the jobs that have a claim, offered, running or lapsed, in the order of ids.
func (q *Queue) Claimed() []*job.Job {
	q.mu.RLock()
	all := slices.Collect(maps.Values(q.state.claimed))
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
	err := q.cfg.Log.Read(ctx, after+1, func(seq uint64, data []byte) error {
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
