// Package negotiate decides which job is offered to which slot.
//
// [Cycle] is a pure function of a [Snapshot]: it reads no clock, starts nothing and logs nothing, and
// equal snapshots give equal plans. Both sides must agree: the job's Requirements hold for the slot,
// and the slot's (its START policy) for the job. Users take turns, those with the fewest running
// jobs first; a user's jobs go by priority, then by age; the job's Rank chooses among the slots.
//
// A plan is a proposal. Nothing is taken from the owner of a machine here, a running job is never
// preempted, and an agent may refuse what it is offered. What cannot be matched is told why, in the
// same pass that tried.
package negotiate

import (
	"cmp"
	"slices"

	"skua/internal/job"
	"skua/policy/classad"
)

// Snapshot is all that a cycle knows. It is only read.
type Snapshot struct {
	Jobs    []Job              // those that wait for a slot, in any order
	Slots   []Slot             // all slots of the pool, free or not, in any order
	Running map[job.UserID]int // how many jobs of each user hold a slot now

	// Served says when each user last got a slot, as any number that grows. Of users with equally many
	// jobs running, the one served longest ago comes first.
	Served map[job.UserID]uint64
}

// Job is a job that waits.
type Job struct {
	ID    job.ID
	User  job.UserID
	Prio  int         // JobPrio: higher goes first among the jobs of one user
	Ad    *classad.Ad // as it is now
	Avoid []string    // machines to use only when no other free one matches
}

// Slot is one slot of the pool.
type Slot struct {
	Name    string // "slot1@desk7"
	Agent   job.AgentID
	Machine string // "desk7"
	Status  Status
	Ad      *classad.Ad
}

// Status says whether a slot can be offered.
type Status int

// What a slot may be. Only free slots are matched; the others count when a job is told why it waits.
const (
	Free    Status = iota
	Resting        // it gave back an offer or a job a moment ago
	Claimed        // it has a job, or an offer of one
	Owner          // the machine's owner uses it
)

// Plan is what a cycle proposes.
type Plan struct {
	Matches []Match
	Waiting map[job.ID]*Why // for every job that was not matched; alike jobs share one Why
}

// Match proposes to offer a job to a slot.
type Match struct {
	Job  job.ID
	Slot Slot
}

// Cycle matches the jobs of a snapshot with its free slots.
func Cycle(s Snapshot) Plan {
	c := newCycle(s)
	plan := Plan{Waiting: map[job.ID]*Why{}}
	var waiting []*candidate
	for line := newLines(c.candidates(s.Jobs), s.Running, s.Served); ; {
		next := line.next()
		if next == nil {
			break
		}
		i, ok := c.pick(next)
		if !ok {
			waiting = append(waiting, next)
			continue
		}
		c.taken[i] = true
		line.served(next)
		plan.Matches = append(plan.Matches, Match{Job: next.job.ID, Slot: c.slots[i]})
	}
	// Last, because a slot that was taken in this cycle is in use as well.
	for _, w := range waiting {
		plan.Waiting[w.job.ID] = c.why(w)
	}
	return plan
}

// cycle is the working state of one [Cycle].
type cycle struct {
	slots    []Slot // by name
	machine  []int  // of each slot: a number for its machine
	machines int
	taken    []bool // by slot
}

// group is a set of jobs that no expression can tell apart, with the verdict on each slot, which is
// therefore found once for all of them.
type group struct {
	sample   *classad.Ad
	judged   bool
	verdicts []verdict // by slot
	choice   []int     // the free slots that match, best first
	why      *Why
}

// candidate is a waiting job and the group it is in.
type candidate struct {
	job   *Job
	group *group
}

func newCycle(s Snapshot) *cycle {
	c := &cycle{slots: slices.Clone(s.Slots), taken: make([]bool, len(s.Slots))}
	slices.SortFunc(c.slots, func(a, b Slot) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Agent, b.Agent))
	})
	numbers := map[string]int{}
	for _, s := range c.slots {
		n, ok := numbers[s.Machine]
		if !ok {
			n = len(numbers)
			numbers[s.Machine] = n
		}
		c.machine = append(c.machine, n)
	}
	c.machines = len(numbers)
	return c
}

// candidates puts the jobs into groups.
func (c *cycle) candidates(jobs []Job) []*candidate {
	keys := groupKeys(jobs, c.slots)
	groups := map[string]*group{}
	all := make([]*candidate, len(jobs))
	for i := range jobs {
		g := groups[keys[i]]
		if g == nil {
			g = &group{sample: jobs[i].Ad}
			groups[keys[i]] = g
		}
		all[i] = &candidate{job: &jobs[i], group: g}
	}
	return all
}

// pick gives the best free slot for a job.
func (c *cycle) pick(w *candidate) (slot int, ok bool) {
	g := w.group
	c.judge(g)
	g.choice = slices.DeleteFunc(g.choice, func(i int) bool { return c.taken[i] })
	for _, i := range g.choice {
		if !slices.Contains(w.job.Avoid, c.slots[i].Machine) {
			return i, true
		}
	}
	if len(g.choice) > 0 {
		return g.choice[0], true // a machine to avoid is better than none
	}
	return 0, false
}

// verdict is the outcome of one job meeting one slot.
type verdict int

// From the worst to the best, so that the best slot of a machine speaks for it.
const (
	unsuited verdict = iota // the job's Requirements do not hold
	unwanted                // the slot's do not
	owned                   // suits, but the owner uses it
	claimed                 // suits, but has a job
	resting                 // suits, but gave one back a moment ago
	matching
)

// judge lets the group meet every slot, once.
func (c *cycle) judge(g *group) {
	if g.judged {
		return
	}
	g.judged = true
	g.verdicts = make([]verdict, len(c.slots))
	requirements, _ := g.sample.Lookup(classad.AttrRequirements)
	type score struct{ mine, theirs float64 }
	scores := map[int]score{}
	for i, s := range c.slots {
		switch {
		case requirements == nil || !requirements.Eval(g.sample, s.Ad).IsTrue():
			g.verdicts[i] = unsuited
		case s.Status == Owner:
			// START says no just because the owner is there; that is not the news.
			g.verdicts[i] = owned
		case s.Status == Claimed:
			g.verdicts[i] = claimed
		case !s.Ad.Eval(classad.AttrRequirements, g.sample).IsTrue():
			g.verdicts[i] = unwanted
		case s.Status == Resting:
			g.verdicts[i] = resting
		default:
			g.verdicts[i] = matching
			g.choice = append(g.choice, i)
			scores[i] = score{classad.Rank(g.sample, s.Ad), classad.Rank(s.Ad, g.sample)}
		}
	}
	slices.SortStableFunc(g.choice, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(scores[b].mine, scores[a].mine),
			cmp.Compare(scores[b].theirs, scores[a].theirs),
		)
	})
}
