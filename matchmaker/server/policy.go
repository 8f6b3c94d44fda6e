package server

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/jobpolicy"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// Attributes that make the matchmaker act, beside those of package jobpolicy.
const (
	attrNoop       = "IsNoopJob"
	attrNoopCode   = "NoopJobExitCode"
	attrNoopSignal = "NoopJobExitSignal"
)

// policyEach is how often jobs' periodic expressions are evaluated, as by HTCondor's schedd. One job is
// not acted on more often because of them, so that a hold and a release that are both true do not fill
// the log.
const policyEach = 60 * time.Second

// police has the wishes of jobs' own policies carried out. It looks at a job when an event has changed
// it, when something of it is due, and, if it has an expression that may come true by itself, each
// minute. All of it belongs to one goroutine.
type police struct {
	s       *Server
	watched map[job.ID]bool      // jobs to look at each minute
	due     map[job.ID]time.Time // when to look at a job because of time alone
	view    job.View
	order   dueHeap              // of due; an entry that due does not have is void
	acted   map[job.ID]time.Time // when an expression of a job was last heeded
}

// enforce runs the police.
func (s *Server) enforce(ctx context.Context) error {
	p := newPolice(s)
	seen, more := s.cfg.Queue.Last()
	p.begin(ctx)
	tick := time.NewTicker(policyEach)
	defer tick.Stop()
	for {
		var timer *time.Timer
		var due <-chan time.Time
		if at, ok := p.next(); ok {
			timer = time.NewTimer(max(time.Until(at), 0))
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-more:
			var err error
			if seen, more, err = p.follow(ctx, seen); err != nil && ctx.Err() == nil {
				return fmt.Errorf("follow the queue: %w", err)
			}
		case <-tick.C:
			p.look(ctx, maps.Keys(maps.Clone(p.watched)))
		case <-due:
			p.look(ctx, slices.Values(p.overdue(time.Now())))
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func newPolice(s *Server) *police {
	return &police{s: s, watched: map[job.ID]bool{}, due: map[job.ID]time.Time{}, acted: map[job.ID]time.Time{}}
}

// begin looks at all jobs that may have a policy.
func (p *police) begin(ctx context.Context) {
	p.look(ctx, func(yield func(job.ID) bool) {
		p.s.cfg.Queue.Walk(queue.Filter{Live: true}, func(j *job.Job) bool { return !mayHavePolicy(j.Ad) || yield(j.ID) })
	})
}

// follow looks at the jobs that events have changed.
func (p *police) follow(ctx context.Context, seen uint64) (uint64, <-chan struct{}, error) {
	q := p.s.cfg.Queue
	last, more := q.Last()
	for seen < last {
		page, err := q.Events(ctx, "", seen, 1000)
		if err != nil {
			return seen, more, err
		}
		changed := map[job.ID]bool{}
		for _, ev := range page.Events {
			for _, id := range p.concerned(ev.Body) {
				changed[id] = true
			}
		}
		p.look(ctx, maps.Keys(changed))
		seen = page.Next
	}
	return seen, more, nil
}

// concerned are the jobs that an event may have given something to do for their policies. Of a cluster's
// new jobs that is told from the first one, as long as they cannot differ in it, so that a hundred
// thousand jobs without a policy cost nothing.
func (p *police) concerned(b job.Body) []job.ID {
	ids := b.Jobs()
	var first job.ID
	switch b := b.(type) {
	case *job.Submitted:
		if b.Late().Limits() {
			return nil // they are yet to come
		}
		for _, ad := range b.Procs {
			if slices.ContainsFunc(ad.Names(), isPolicy) {
				return ids
			}
		}
		first = job.ID{Cluster: b.Cluster}
	case *job.Opened:
		first = job.ID{Cluster: b.Cluster, Proc: b.From}
	default:
		return ids
	}
	// Its own attributes are the columns of a table, if there is one.
	j, ok := p.s.cfg.Queue.Job(first)
	if ok && !mayHavePolicy(j.Ad) && !slices.ContainsFunc(j.Ad.Names(), isPolicy) {
		return nil
	}
	return ids
}

// policyAttributes are those that make the matchmaker act on a job by itself.
var policyAttributes = []string{
	"PeriodicHold", "PeriodicRelease", "PeriodicRemove", "PeriodicVacate", "TimerRemove", "AllowedJobDuration", "AllowedExecuteDuration",
	attrNoop, attrDeferralTime, "CronMinute", "CronHour", "CronDayOfMonth", "CronMonth", "CronDayOfWeek",
}

func isPolicy(name string) bool {
	return slices.ContainsFunc(policyAttributes, func(p string) bool { return strings.EqualFold(p, name) })
}

// mayHavePolicy says whether a job has an attribute of a policy that is not plainly false, as submit
// writes those that are not wanted. A deferral_time that is false is not such a one.
func mayHavePolicy(ad *classad.Ad) bool {
	for _, name := range policyAttributes {
		if e, ok := ad.Lookup(name); ok {
			if v, constant := e.Literal(); !constant || v.Kind() != classad.Undefined && (v.Kind() != classad.Boolean || v.IsTrue() || name == attrDeferralTime) {
				return true
			}
		}
	}
	return false
}

// look asks the policies of jobs and does what they want.
func (p *police) look(ctx context.Context, ids func(func(job.ID) bool)) {
	now := time.Now()
	var bodies []job.Body
	for id := range ids {
		if body := p.ask(id, now); body != nil {
			bodies = append(bodies, body)
		}
		if len(bodies) == maxActed {
			p.commit(ctx, bodies)
			bodies = nil
		}
	}
	p.commit(ctx, bodies)
}

// commit logs what policies want, and has ended claims withdrawn.
func (p *police) commit(ctx context.Context, bodies []job.Body) {
	for i, err := range p.s.cfg.Queue.CommitEach(ctx, bodies) {
		id := bodies[i].Jobs()[0]
		switch {
		case err == nil:
			p.s.log.Info("job's policy was heeded", diag.KeyJob, id, "event", bodies[i].Kind())
			p.s.entrust(id, func(ctx context.Context, k *keeper) { k.withdraw(ctx) })
		case errors.Is(err, queue.ErrMisfit): // it has changed, and is looked at again because of that
		case ctx.Err() == nil:
			p.s.log.Warn("job's policy not heeded", diag.KeyJob, id, diag.KeyError, err)
			p.schedule(id, time.Now().Add(policyEach))
		}
	}
}

// ask gives the event that a job's policy wants logged, nil for none, and notes when to ask again.
func (p *police) ask(id job.ID, now time.Time) job.Body {
	j, ok := p.s.cfg.Queue.Job(id)
	if !ok || j.State.Ended() || !mayHavePolicy(j.Ad) {
		delete(p.watched, id)
		delete(p.due, id)
		delete(p.acted, id)
		return nil
	}
	ad := p.view.Of(p.s.measured(j))
	if j.State == job.Idle && j.Claim == nil {
		if noop, _ := ad.Bool(attrNoop); noop {
			return &job.Ended{Job: id, Epoch: j.Epoch, Noop: true, Result: noopResult(ad)}
		}
	}
	if at, missed := cronDue(ad, now); missed && j.State == job.Idle {
		return &job.Edited{Job: id, Set: deferTo(at)}
	}
	if at := jobpolicy.Due(ad, now, j.State); !at.IsZero() {
		p.schedule(id, at)
	} else {
		delete(p.due, id)
	}
	if jobpolicy.HasPeriodic(ad) {
		p.watched[id] = true
	} else {
		delete(p.watched, id)
	}
	v := jobpolicy.Periodic(ad, now, j.State)
	if v.Action == jobpolicy.Stay {
		return nil
	}
	if byExpression(v) {
		if again := p.acted[id].Add(policyEach); now.Before(again) {
			p.schedule(id, again)
			return nil
		}
		p.acted[id] = now
	}
	switch v.Action {
	case jobpolicy.Hold:
		if v.Code == job.HoldMissedDeferral {
			if set := startsLate(j, ad, now); set != nil {
				return &job.Edited{Job: id, Set: set}
			}
		}
		return &job.HeldBack{Job: id, Reason: v.Reason, Code: v.Code, SubCode: v.SubCode, Usage: p.s.runOf(j)}
	case jobpolicy.Release:
		return &job.Released{Job: id, Reason: v.Reason}
	case jobpolicy.Remove:
		return &job.Withdrawn{Job: id, Reason: v.Reason, Usage: p.s.runOf(j)}
	case jobpolicy.Vacate:
		if !p.s.wishFor(j).leaves() {
			p.s.control(j, wish{wire.VacateClaim, v.Reason})
		}
	}
	return nil
}

// byExpression says whether a verdict may be followed by its opposite at once.
func byExpression(v jobpolicy.Verdict) bool {
	switch v.Action {
	case jobpolicy.Hold:
		return v.Code == job.HoldByPolicy
	case jobpolicy.Release, jobpolicy.Vacate:
		return true
	}
	return false
}

// noopResult is how a job ends that is not to run.
func noopResult(ad *classad.Ad) job.Result {
	code, _ := ad.Int(attrNoopCode)
	signal, _ := ad.Int(attrNoopSignal)
	return job.Result{ExitCode: int(code), Signal: int(signal)}
}

// schedule has a job looked at when the time comes.
func (p *police) schedule(id job.ID, at time.Time) {
	if p.due[id].Equal(at) {
		return
	}
	p.due[id] = at
	heap.Push(&p.order, dueJob{at, id})
}

// next is when the first job is due.
func (p *police) next() (time.Time, bool) {
	for len(p.order) > 0 {
		first := p.order[0]
		if p.due[first.id].Equal(first.at) {
			return first.at, true
		}
		heap.Pop(&p.order)
	}
	return time.Time{}, false
}

// overdue takes the jobs that are due. One that was deferred may be offered now.
func (p *police) overdue(now time.Time) []job.ID {
	var ids []job.ID
	for {
		at, ok := p.next()
		if !ok || at.After(now) {
			break
		}
		id := p.order[0].id
		heap.Pop(&p.order)
		delete(p.due, id)
		ids = append(ids, id)
	}
	if len(ids) > 0 {
		p.s.matchAgain()
	}
	return ids
}

type dueJob struct {
	at time.Time
	id job.ID
}

type dueHeap []dueJob

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueJob)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
