package queue

import (
	"maps"
	"slices"
	"strings"

	"skua/internal/job"
	"skua/matchmaker/negotiate"
)

// Batch is some idle jobs of one cluster that can be looked at as one, since their ads differ in a few attributes
// only, or one idle job.
type Batch struct {
	Cluster int
	Procs   []negotiate.Range // in order
	First   *job.Job
	Varies  []string                // attributes, beside ProcId, in which the ads of the others may differ from that of First
	Table   any                     // if not nil: batches with the same one, given at any time, have the same ads for the same procs
	Job     func(proc int) *job.Job // makes the others; of a batch that [Queue.Waiting] gave some time ago too
}

// Waiting gives the jobs that could be offered now, those of one cluster that were never offered or edited
// together: a hundred thousand of them are one batch. Jobs that differ in one of the attributes apart are in different
// batches, so that what depends on these alone holds for a batch as it does for its first job. apart must be the
// same each time.
func (q *Queue) Waiting(apart []string) []Batch {
	var all []Batch
	var singles []*job.Job
	q.mu.RLock()
	for _, c := range q.state.inOrder {
		all = c.batches(all, apart)
	}
	for _, j := range q.state.idle {
		singles = append(singles, j)
	}
	q.mu.RUnlock()
	for _, j := range byID(singles) {
		all = append(all, Batch{
			Cluster: j.ID.Cluster, Procs: []negotiate.Range{{From: j.ID.Proc, Upto: j.ID.Proc + 1}}, First: j,
			Job: func(int) *job.Job { return j },
		})
	}
	return all
}

// batches appends the jobs of a cluster that wait and are fresh, or at least untried.
func (c *cluster) batches(all []Batch, apart []string) []Batch {
	fresh, untried := c.nfresh > 0, c.untried.next(0) >= 0
	if !fresh && !untried {
		return all
	}
	c.classify(apart)
	if fresh {
		cluster, entries := c.Cluster, slices.Clone(c.entries) // which do not change with the queue
		varies := c.Varies()
		if len(entries) > 1 {
			varies = append(slices.Clone(varies), "EnteredCurrentStatus")
		}
		for _, class := range c.classes {
			waiting := c.fresh
			if c.onHold != nil {
				waiting = waiting.without(c.onHold)
			}
			all = appendBatch(all, waiting.in(class), Batch{Cluster: c.Number, Varies: varies, Table: cluster, Job: func(proc int) *job.Job {
				return cluster.Job(proc, enteredAt(entries, proc))
			}})
		}
	}
	if untried {
		jobs := maps.Clone(c.jobs)
		varies := append(slices.Clone(c.Varies()), job.UntriedVaries...)
		for _, class := range c.classes {
			all = appendBatch(all, c.untried.in(class), Batch{Cluster: c.Number, Varies: varies, Job: func(proc int) *job.Job { return jobs[proc] }})
		}
	}
	return all
}

// appendBatch appends a batch of these jobs, if there are any.
func appendBatch(all []Batch, procs bitset, b Batch) []Batch {
	if b.Procs = procs.ranges(); len(b.Procs) == 0 {
		return all
	}
	b.First = b.Job(b.Procs[0].From)
	return append(all, b)
}

// classify sorts the jobs of the cluster by the attributes apart, once.
func (c *cluster) classify(apart []string) {
	c.sorting.Do(func() {
		if !c.differsIn(apart) {
			c.classes = []bitset{nil} // all jobs
			return
		}
		number := map[string]int{}
		for proc := range c.Len() {
			key := c.classOf(proc, apart)
			n, ok := number[key]
			if !ok {
				n = len(c.classes)
				number[key] = n
				c.classes = append(c.classes, nil)
			}
			c.classes[n].add(proc, proc+1)
		}
	})
}

// differsIn says whether jobs of the cluster may differ in one of the attributes, by themselves or by what they
// are computed from.
func (c *cluster) differsIn(names []string) bool {
	if c.Len() == 1 {
		return false
	}
	varies := map[string]bool{"procid": true}
	for _, name := range c.Varies() {
		varies[strings.ToLower(name)] = true
	}
	ad := c.Job(0, c.At).CurrentAd()
	for _, name := range names {
		if varies[strings.ToLower(name)] {
			return true
		}
		e, ok := ad.Lookup(name)
		if !ok {
			continue
		}
		for _, read := range e.ReferencesIn(ad).My {
			if varies[strings.ToLower(read)] {
				return true
			}
		}
	}
	return false
}

func (c *cluster) classOf(proc int, names []string) string {
	var key strings.Builder
	ad := c.Job(proc, c.At).CurrentAd()
	for _, name := range names {
		key.WriteString(ad.Eval(name, nil).String())
		key.WriteByte(0)
	}
	return key.String()
}

// ranges gives the numbers of the set as ranges.
func (b bitset) ranges() []negotiate.Range {
	var all []negotiate.Range
	for from := b.next(0); from >= 0; {
		upto := b.nextNot(from)
		all = append(all, negotiate.Range{From: from, Upto: upto})
		from = b.next(upto)
	}
	return all
}
