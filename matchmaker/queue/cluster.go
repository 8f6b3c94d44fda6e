package queue

import (
	"sort"
	"sync"
	"time"

	"skua/internal/job"
)

// cluster is what has become of a cluster. Jobs to which nothing has happened since they entered the queue are
// fresh: they are a bit each, and made when they are asked for. An event about one makes it a job of its own.
type cluster struct {
	*job.Cluster
	opened  int              // jobs below have entered the queue
	entries []entry          // when they did, in order
	closed  bool             // no more are to enter
	late    job.Late         // as submitted and edited
	fresh   bitset           // those to which nothing has happened
	onHold  bitset           // those that are held as long as they are fresh; nil for none
	jobs    map[int]*job.Job // the others that are not forgotten

	untried bitset // of the others those that could be offered and never were; see [job.Job.Untried]

	states [8]int // how many jobs there are of each state, fresh ones and forgotten ones included
	nfresh int

	sorting sync.Once // of what follows, which depends on nothing above and is read under the lock of the queue
	classes []bitset  // see [Queue.Waiting]; a nil one is all jobs
}

// entry says when some jobs entered the queue: those from the entry before until before upto.
type entry struct {
	upto int
	at   time.Time
}

func newCluster(c *job.Cluster) *cluster {
	k := &cluster{Cluster: c, late: c.Late, jobs: map[int]*job.Job{}}
	for proc := range c.Len() {
		if c.OnHold(proc) {
			k.onHold.add(proc, proc+1)
		}
	}
	return k
}

// open lets the jobs below upto enter.
func (c *cluster) open(upto int, at time.Time) {
	if first := c.fresh.next(0); len(c.entries) > 0 && first < 0 {
		c.entries = nil // nobody asks any more
	} else {
		for len(c.entries) > 0 && c.entries[0].upto <= first {
			c.entries = c.entries[1:]
		}
	}
	c.entries = append(c.entries, entry{upto, at})
	c.fresh.add(c.opened, upto)
	c.nfresh += upto - c.opened
	for proc := c.opened; proc < upto; proc++ {
		c.states[c.freshState(proc)]++
	}
	c.opened = upto
}

func (c *cluster) freshState(proc int) job.State {
	if c.onHold.has(proc) {
		return job.Held
	}
	return job.Idle
}

// job gives a job that is in the queue or not forgotten, else nil.
func (c *cluster) job(proc int) *job.Job {
	if c.fresh.has(proc) {
		return c.Job(proc, enteredAt(c.entries, proc))
	}
	return c.jobs[proc]
}

func enteredAt(entries []entry, proc int) time.Time {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].upto > proc })
	return entries[i].at
}

// put makes j the present form of its job.
func (c *cluster) put(j *job.Job, was job.State) {
	if proc := j.ID.Proc; c.fresh.has(proc) {
		c.fresh.remove(proc)
		c.nfresh--
	}
	c.jobs[j.ID.Proc] = j
	if waitsUntried(j) {
		c.untried.add(j.ID.Proc, j.ID.Proc+1)
	} else {
		c.untried.remove(j.ID.Proc)
	}
	c.states[was]--
	c.states[j.State]++
}

// present is how many jobs are in the queue and have not ended; idle how many of them do not run.
func (c *cluster) present() (present, idle int) {
	idle = c.states[job.Idle] + c.states[job.Held]
	return c.opened - c.states[job.Completed] - c.states[job.Removed], idle
}

// more says whether there are jobs that are to enter later.
func (c *cluster) more() bool { return c.opened < c.Len() && !c.closed }

// gone says whether the cluster has come to its end and all its jobs have been forgotten.
func (c *cluster) gone() bool { return c.nfresh == 0 && len(c.jobs) == 0 && !c.more() }

// item is a job of a walk: one that something has happened to, or how to make one.
type item struct {
	job     *job.Job
	cluster *job.Cluster
	proc    int
	entered time.Time
}

// walk calls f with the jobs after the given proc in order until it is false, and says whether it was not. Those
// that have ended are left out, or those that have not.
func (c *cluster) walk(after int, live, ended bool, f func(item) bool) bool {
	for proc := after + 1; proc < c.opened; proc++ {
		switch {
		case c.fresh.has(proc):
			if live && !f(item{cluster: c.Cluster, proc: proc, entered: enteredAt(c.entries, proc)}) {
				return false
			}
		case len(c.jobs) == 0: // all others are fresh or forgotten
			if proc = c.fresh.next(proc); proc < 0 {
				return true
			}
			proc-- // come here again
		default:
			j := c.jobs[proc]
			if j != nil && (j.State.Ended() && ended || !j.State.Ended() && live) && !f(item{job: j, proc: proc}) {
				return false
			}
		}
	}
	return true
}
