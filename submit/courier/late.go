package courier

import (
	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/policy/classad"
)

// late is how a cluster with late materialization stands, whose jobs enter the queue little by little. It
// has entries of its own in the log: when it is submitted, and when its last job is over.
type late struct {
	Log     string `json:"log"`
	JSON    bool   `json:"json,omitempty"`
	Jobs    int    `json:"jobs"`              // in all
	Entered int    `json:"entered,omitempty"` // of these, into the queue
	Present int    `json:"present,omitempty"` // of these, not over
	Closed  bool   `json:"closed,omitempty"`  // removed: no more enter
	Reason  string `json:"reason,omitempty"`
}

// over says whether no job is left and none comes any more.
func (l *late) over() bool { return l.Present == 0 && (l.Closed || l.Entered >= l.Jobs) }

// clusterEvent is what an event means for the cluster itself. It gives the entries that the cluster has of
// its own, before and after those of its jobs.
func (c *Courier) clusterEvent(ev job.Event) (l *late, before, after []eventlog.Event) {
	n, ok := job.ClusterOf(ev.Body)
	if !ok {
		return nil, nil, nil
	}
	entry := eventlog.Event{Job: job.ID{Cluster: n, Proc: -1}, Time: ev.At}
	if _, ok := ev.Body.(*job.Submitted); ok {
		cl := c.known.fresh[n]
		if cl == nil || !cl.Late.Limits() {
			return nil, nil, nil
		}
		o := c.originIn(cl, 0) // the log is the first job's, as in HTCondor
		l = &late{Log: o.log, JSON: o.json, Jobs: cl.Len()}
		if c.state.Late[n] == nil {
			c.logs.use(l.Log)
		}
		c.state.Late[n] = l
		entry.Kind, entry.Host, entry.Reason, entry.UserNotes = eventlog.ClusterSubmit, address(o.machine), o.notes, o.private
		return l, []eventlog.Event{entry}, nil
	}
	if l = c.state.Late[n]; l == nil {
		return nil, nil, nil
	}
	switch b := ev.Body.(type) {
	case *job.Opened:
		l.Present += b.Upto - max(b.From, l.Entered)
		l.Entered = max(l.Entered, b.Upto)
	case *job.Closed:
		l.Closed, l.Reason = true, b.Reason
	case *job.Withdrawn, *job.Delivered:
		l.Present = max(0, l.Present-1)
	}
	if !l.over() {
		return l, nil, nil
	}
	delete(c.state.Late, n)
	delete(c.known.fresh, n)
	c.logs.release(l.Log)
	entry.Kind, entry.Reason = eventlog.ClusterRemove, l.Reason
	entry.Factory = &eventlog.Factory{Jobs: l.Entered, Items: l.Jobs, Completion: eventlog.Complete}
	if l.Entered < l.Jobs {
		entry.Factory.Completion = eventlog.Incomplete
	}
	return l, nil, []eventlog.Event{entry}
}

// isLate says whether the jobs of a cluster enter the queue after it was submitted.
func isLate(ad *classad.Ad) bool {
	most, _ := ad.Int("JobMaterializeLimit")
	idle, _ := ad.Int("JobMaterializeMaxIdle")
	return most > 0 || idle > 0
}
