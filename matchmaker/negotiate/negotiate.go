// Package negotiate decides which job is offered to which slot, and says of every job why it does not run.
//
// [Cycle] is a pure function of a [Snapshot]: it reads no clock, starts nothing and logs nothing, and
// equal snapshots give equal plans. Both sides must agree: the job's Requirements hold for the slot,
// and the slot's (its START policy) for the job. Users share the slots in inverse proportion to their
// effective priorities, see [Account]; a user's jobs go by priority, then by age; the job's Rank chooses
// among the slots. Jobs of nice users come when everybody else has been served.
//
// A partitionable slot is given to several jobs of one cycle, each of which leaves it less; see package policy.
//
// A plan is a proposal. Nothing is taken from the owner of a machine here, a running job is never
// preempted, and an agent may refuse what it is offered. [Plan.Why] tells what the same pass found of a
// job that was not matched, and [Explain] all that can be told of any job.
//
// What costs time is meeting jobs with slots. Jobs that nothing can tell apart form a group that meets
// each slot once, and waiting jobs come in batches, of which the members are only looked at if they
// can differ in something that matters. A hundred thousand jobs of one cluster cost what one costs.
package negotiate

import (
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

// Snapshot is all that a cycle knows. It is only read.
type Snapshot struct {
	Now    time.Time
	Jobs   []Batch // those that wait for a slot, in any order
	Slots  []Slot  // all slots of the pool, free or not, in any order
	Claims []Claim // all claims that stand, offers included and lapsed ones not

	// Accounts are the users' accounts, charged up to Now. Who has none has used nothing yet.
	Accounts map[job.UserID]Account
	// Names are the users as people know them, for what people read.
	Names map[job.UserID]string
	// Served says when each user last got a slot, as any number that grows. It decides between users
	// who are equal otherwise.
	Served map[job.UserID]uint64

	// Limits are the concurrency limits by their names in lower case. "licence.*" is for the names of
	// that group that have none of their own, and "*" for all others; what is not there is not limited.
	Limits map[string]float64

	Memo *Memo // makes cycles faster; nil will do
}

// Batch is some waiting jobs of one cluster.
type Batch struct {
	Cluster   int
	Procs     []Range // in order, not overlapping and not empty
	User      job.UserID
	Prio      int       // JobPrio: higher goes first among the jobs of one user
	Nice      bool      // see [Nice]
	NotBefore time.Time // the jobs are not to be matched until then
	Avoid     []string  // machines to use only when no other free one matches

	// Ad is the ad of the first job, as it is now.
	Ad *classad.Ad
	// Varies names the attributes in which the ads of the other jobs may differ from it, apart from
	// ProcId. It is of no concern when there is one job.
	Varies []string
	// AdOf gives the ad of a job. It is only called when a varying attribute matters.
	AdOf func(proc int) *classad.Ad
	// Table, if not nil, says where the varying attributes come from: jobs with the same proc in batches
	// with equal Tables have the same ones in all snapshots that share a [Memo], and are then looked at once.
	Table any
}

// Range is the procs of a cluster from From until before Upto.
type Range struct{ From, Upto int }

// Nice reports whether a job is to run only when nobody else wants the machine (nice_user).
func Nice(ad *classad.Ad) bool {
	if nice, _ := ad.Bool("NiceUser"); nice {
		return true
	}
	group, _ := ad.Str("AcctGroup")
	return group == "nice-user" // which is all that condor_submit makes of nice_user
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
	Owner          // it is the owner's, and no job may start
)

// Claim is a job that has a slot, or an offer of one.
type Claim struct {
	Job    job.ID
	User   job.UserID
	Nice   bool
	Agent  job.AgentID
	Slot   string
	Limits string // the concurrency limits that the job counts against, see [LimitsOf]
}

// Match proposes to offer a job to a slot, or a part of a partitionable one.
type Match struct {
	Job  job.ID
	Slot Slot // with what the matches before have left of it
}

// Plan is what a cycle proposes.
type Plan struct {
	Matches []Match

	cycle *cycle
}

// Cycle matches the jobs of a snapshot with its free slots.
func Cycle(s Snapshot) *Plan {
	c := newCycle(s)
	plan := &Plan{cycle: c}
	for {
		turn := c.lines.next()
		if turn == nil {
			return plan
		}
		next := turn.first()
		i, ok := c.pick(next)
		if !ok {
			turn.drop() // nor is there a slot for the others of its kind
			continue
		}
		id, slot := next.take(), c.slots[i]
		if p := c.parting(i); p != nil {
			slot.Ad = p.ad
		}
		c.give(i, id, next.group)
		c.limits.take(c.wanted(next.group, i))
		turn.served()
		plan.Matches = append(plan.Matches, Match{Job: id, Slot: slot})
	}
}
