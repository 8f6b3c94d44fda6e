package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"skua/internal/blob"
	"skua/policy/classad"
)

// A Cluster is what one submit asked for. It does not hold its jobs: [Cluster.Job] makes the one that is asked
// for, as it is before anything has happened to it, and the same each time. It may be read concurrently.
type Cluster struct {
	Number int
	User   UserID
	Owner  string // the user's name, as people know it
	At     time.Time
	Ad     *classad.Ad // what the jobs have in common
	Late   Late

	procs  []*classad.Ad
	inputs [][]File
	varies []string
	table  *Table // in the place of procs, inputs and varies
	ref    *TableRef

	heldOnes []bool // by proc; nil if it is the same for all
	heldAll  bool   // or the first
}

// NewCluster makes the cluster that a Submitted event adds. table is what the event's TableRef names; nil when
// it names none.
func NewCluster(ev Event, table *Table) (*Cluster, error) {
	b, ok := ev.Body.(*Submitted)
	if !ok {
		return nil, fmt.Errorf("a cluster starts with a submitted event, not with %s", ev.Body.Kind())
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	switch {
	case b.Ad == nil || b.Count() == 0 || slices.Contains(b.Procs, nil):
		return nil, fmt.Errorf("cluster %d: it has no procs, or ads are missing", b.Cluster)
	case (b.Table != nil) != (table != nil) || b.Table != nil && len(b.Procs)+len(b.Inputs) > 0:
		return nil, fmt.Errorf("cluster %d: it must have either procs or a table", b.Cluster)
	case table != nil && table.Len() != b.Table.Count:
		return nil, fmt.Errorf("cluster %d: its table has %d rows, not %d", b.Cluster, table.Len(), b.Table.Count)
	case len(b.Inputs) > 1 && len(b.Inputs) != len(b.Procs):
		return nil, fmt.Errorf("cluster %d: %d input lists for %d procs", b.Cluster, len(b.Inputs), len(b.Procs))
	}
	c := &Cluster{
		Number: b.Cluster, User: b.User, Owner: b.Owner, At: ev.At, Ad: b.Ad, Late: b.Late(),
		procs: b.Procs, inputs: b.Inputs, table: table, ref: b.Table,
	}
	for _, ad := range c.procs {
		ad.SetParent(c.Ad)
	}
	c.varies = varying(c.procs)
	c.heldAll = onHold(c.ad(0))
	if c.variesIn("JobStatus") {
		c.heldOnes = make([]bool, c.Len())
		for proc := range c.heldOnes {
			c.heldOnes[proc] = onHold(c.ad(proc))
		}
	}
	return c, nil
}

// Submitted gives the event that adds the cluster again, but for the name of the request.
func (c *Cluster) Submitted() Event {
	return Event{At: c.At, Body: &Submitted{
		Cluster: c.Number, User: c.User, Owner: c.Owner, Ad: c.Ad, Procs: c.procs, Inputs: c.inputs, Table: c.ref,
	}}
}

// Len is how many jobs the cluster has in all.
func (c *Cluster) Len() int {
	if c.table != nil {
		return c.table.Len()
	}
	return len(c.procs)
}

// Job makes a job as it is when it enters the queue. [Late] clusters have theirs enter later than they were
// submitted; entered says when.
func (c *Cluster) Job(proc int, entered time.Time) *Job {
	j := new(Job)
	c.make(j, proc, entered, c.ad(proc))
	return j
}

func (c *Cluster) make(j *Job, proc int, entered time.Time, ad *classad.Ad) {
	*j = Job{
		ID: ID{c.Number, proc}, User: c.User, Owner: c.Owner, Ad: ad, Inputs: c.Inputs(proc),
		State: Idle, Entered: entered, Submitted: c.At, fresh: c,
	}
	if c.OnHold(proc) {
		j.State, j.HoldReason, j.HoldCode = Held, OnHoldReason, HoldOnSubmit
	}
}

// A Scratch makes fresh jobs one after another in the same memory, for those who look at many. It belongs to one
// goroutine.
type Scratch struct {
	job   Job
	ad    *classad.Ad
	table *Table // of which ad has all columns
}

// Job makes a job as [Cluster.Job] does. It and its ad are good until Job is called again.
func (s *Scratch) Job(c *Cluster, proc int, entered time.Time) *Job {
	if c.table == nil {
		c.make(&s.job, proc, entered, c.procs[proc])
		return &s.job
	}
	if s.table != c.table {
		s.ad, s.table = c.table.template.Clone(), c.table
	}
	s.ad.SetParent(nil) // so that what a row lacks is not looked for there
	if !c.table.fill(s.ad, proc, c.Number) {
		s.table = nil
	}
	s.ad.SetParent(c.Ad)
	c.make(&s.job, proc, entered, s.ad)
	return &s.job
}

func (c *Cluster) ad(proc int) *classad.Ad {
	if c.table != nil {
		return c.table.Ad(proc, c.Number, c.Ad)
	}
	return c.procs[proc]
}

// Inputs gives the input files of a job.
func (c *Cluster) Inputs(proc int) []File {
	switch {
	case c.table != nil:
		return c.table.Inputs(proc)
	case len(c.inputs) == 0:
		return nil
	case len(c.inputs) == 1:
		return c.inputs[0]
	}
	return c.inputs[proc]
}

// Files calls f with the input files of all jobs, those that several have perhaps more than once, until f is false.
func (c *Cluster) Files(f func(File) bool) {
	if c.table != nil {
		c.table.Files(f)
		return
	}
	for _, list := range c.inputs {
		for _, file := range list {
			if !f(file) {
				return
			}
		}
	}
}

// OnHold says whether a job begins its life held.
func (c *Cluster) OnHold(proc int) bool {
	if c.heldOnes != nil {
		return c.heldOnes[proc]
	}
	return c.heldAll
}

// Varies names the attributes, beside ProcId, in which the ads of the jobs may differ from each other.
func (c *Cluster) Varies() []string {
	if c.table != nil {
		return c.table.Columns()
	}
	return c.varies
}

func (c *Cluster) variesIn(name string) bool {
	return slices.ContainsFunc(c.Varies(), func(v string) bool { return strings.EqualFold(v, name) })
}

// Table is the cluster's table; nil if its jobs came without one.
func (c *Cluster) Table() *Table { return c.table }

// TableDigest names the blob that holds the cluster's table; "" for a cluster without one, or with a small one.
func (c *Cluster) TableDigest() blob.Digest {
	if c.ref == nil {
		return ""
	}
	return c.ref.Digest
}

// Untried says whether the job has never been offered to a machine nor edited: it is as its cluster says, but that it
// may have been held and released. Untried jobs of a cluster differ from each other in what [Cluster.Varies] names
// and in [UntriedVaries].
func (j *Job) Untried() bool {
	return j.Epoch == 0 && !j.edited && j.Usage == (Usage{}) && len(j.Images) == 0
}

// UntriedVaries are the attributes in which untried idle jobs may differ because of what has happened to them.
var UntriedVaries = []string{
	"EnteredCurrentStatus", "LastJobStatus", "NumHolds", "ReleaseReason", "LastHoldReason", "LastHoldReasonCode",
	"HoldReason", "HoldReasonCode", "HoldReasonSubCode", "LastRemoteHost",
}

// Late says how many jobs of a cluster with late materialization (max_materialize, max_idle) are to be in the
// queue. Zero means no limit. A cluster with neither has all its jobs enter as it is submitted; in others they
// enter with Opened events, in order.
type Late struct {
	Most int `json:"most,omitempty"` // not ended
	Idle int `json:"idle,omitempty"` // not ended and not running
}

// The attributes that set the limits, of a cluster or by an edit of its jobs.
const (
	AttrLateMost = "JobMaterializeLimit"
	AttrLateIdle = "JobMaterializeMaxIdle"
)

// Late gives the limits of the cluster.
func (b *Submitted) Late() Late {
	if b.Ad == nil {
		return Late{}
	}
	return Late{Most: lateLimit(b.Ad, AttrLateMost), Idle: lateLimit(b.Ad, AttrLateIdle)}
}

func lateLimit(ad *classad.Ad, name string) int {
	n, ok := ad.Int(name)
	if !ok || n <= 0 {
		return 0
	}
	return int(min(n, MaxProcs))
}

// Edited gives the limits after an edit of a job of the cluster, which are the whole cluster's. Undefined lifts one; what
// else is not a limit leaves it as it is.
func (l Late) Edited(j *Job, set []Assigned) Late {
	for _, limit := range []struct {
		name string
		is   *int
	}{{AttrLateMost, &l.Most}, {AttrLateIdle, &l.Idle}} {
		if !slices.ContainsFunc(set, func(a Assigned) bool { return strings.EqualFold(a.Name, limit.name) }) {
			continue
		}
		if n := lateLimit(j.Ad, limit.name); n > 0 || j.Ad.Eval(limit.name, nil).Kind() == classad.Undefined {
			*limit.is = n
		}
	}
	return l
}

// Limits says whether there is a limit.
func (l Late) Limits() bool { return l != Late{} }

// Room is how many more jobs may enter the queue beside those that have not ended there, of which idle do not
// run.
func (l Late) Room(present, idle int) int {
	room := MaxProcs
	if l.Most > 0 {
		room = min(room, l.Most-present)
	}
	if l.Idle > 0 {
		room = min(room, l.Idle-idle)
	}
	return max(room, 0)
}
