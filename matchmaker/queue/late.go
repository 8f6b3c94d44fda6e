package queue

import (
	"maps"
	"slices"

	"skua/internal/job"
)

// Due gives the events by which further jobs of clusters with late materialization are to enter the queue now,
// in the order of clusters. It follows from the state alone; whoever runs the queue commits them.
func (q *Queue) Due() []*job.Opened {
	q.mu.RLock()
	defer q.mu.RUnlock()
	var due []*job.Opened
	room := q.cfg.MaxJobs - q.state.total
	taken := map[job.UserID]int{}
	for _, c := range q.state.lateInOrder() {
		present, idle := c.present()
		n := min(c.Len()-c.opened, c.late.Room(present, idle), room, q.cfg.MaxPerUser-q.state.held[c.User]-taken[c.User])
		if n <= 0 {
			continue
		}
		due = append(due, &job.Opened{Cluster: c.Number, From: c.opened, Upto: c.opened + n})
		room -= n
		taken[c.User] += n
	}
	return due
}

// Coming gives what is to enter the queue later of a user's clusters, in their order, as if all of a cluster entered at
// once: whoever removes such a cluster commits [job.Closed] first.
func (q *Queue) Coming(user job.UserID) []job.Opened {
	q.mu.RLock()
	defer q.mu.RUnlock()
	var all []job.Opened
	for _, c := range q.state.lateInOrder() {
		if c.User == user {
			all = append(all, job.Opened{Cluster: c.Number, From: c.opened, Upto: c.Len()})
		}
	}
	return all
}

func (s *state) lateInOrder() []*cluster {
	all := slices.Collect(maps.Values(s.late))
	slices.SortFunc(all, func(a, b *cluster) int { return a.Number - b.Number })
	return all
}
