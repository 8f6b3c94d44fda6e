package queue

import (
	"time"

	"skua/internal/job"
)

// Count says how the jobs of a cluster are.
type Count struct {
	Cluster   int
	User      job.UserID
	Owner     string
	Submitted time.Time
	Total     int // jobs of the cluster, those that are forgotten or have yet to enter included
	Late      int // have yet to enter; none if the cluster has been closed
	Present   int // are in the queue and have not ended

	// States has how many there are in each state, forgotten ones included and those that have yet to enter
	// not.
	States [8]int

	// Jobs that have not ended, nil when there is none such.
	First, Last          *job.Job
	FirstIdle, FirstHeld *job.Job
	FirstNoImage         *job.Job // is on a machine and cannot be checkpointed as it is, as far as is known
}

// Counts gives the clusters of a user that have a job which has not ended, or one to come, in the order of their
// numbers; those of all users for "". It takes no time for jobs to which nothing has happened. With clusters it
// is about these only.
func (q *Queue) Counts(user job.UserID, clusters []int) []Count {
	named := map[int]bool{}
	for _, c := range clusters {
		named[c] = true
	}
	q.mu.RLock()
	defer q.mu.RUnlock()
	var all []Count
	for _, c := range q.state.clustersOf(user, 0) {
		if len(named) > 0 && !named[c.Number] {
			continue
		}
		if present, _ := c.present(); present > 0 || c.more() {
			all = append(all, c.tally())
		}
	}
	return all
}

func (c *cluster) tally() Count {
	n := Count{
		Cluster: c.Number, User: c.User, Owner: c.Owner, Submitted: c.At, Total: c.Len(), States: c.states,
	}
	n.Present, _ = c.present()
	if c.more() {
		n.Late = c.Len() - c.opened
	}
	first, last, idle, held := -1, -1, -1, -1
	note := func(proc int, state job.State) {
		lower(&first, proc)
		last = max(last, proc)
		switch state {
		case job.Idle:
			lower(&idle, proc)
		case job.Held:
			lower(&held, proc)
		}
	}
	for proc := c.fresh.next(0); proc >= 0; proc = c.fresh.next(proc + 1) {
		state := c.freshState(proc)
		note(proc, state)
		if c.onHold == nil || idle >= 0 && held >= 0 {
			break // the others add nothing but the last one
		}
	}
	if proc := c.fresh.last(); proc >= 0 {
		note(proc, c.freshState(proc))
	}
	noImage := -1
	for proc, j := range c.jobs {
		if !j.State.Ended() {
			note(proc, j.State)
		}
		if j.NoImage != "" && (j.State == job.Running || j.State == job.Suspended) {
			lower(&noImage, proc)
		}
	}
	n.First, n.Last, n.FirstIdle, n.FirstHeld = c.at(first), c.at(last), c.at(idle), c.at(held)
	n.FirstNoImage = c.at(noImage)
	return n
}

// at gives a job; nil for a negative number.
func (c *cluster) at(proc int) *job.Job {
	if proc < 0 {
		return nil
	}
	return c.job(proc)
}

// lower makes low the lower one of itself and n; a negative low is none.
func lower(low *int, n int) {
	if *low < 0 || n < *low {
		*low = n
	}
}
