package queue

import (
	"encoding/json"
	"fmt"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
)

// draft is the state that the requests taken so far would lead to.
type draft struct {
	q        *Queue
	seq      uint64
	cluster  int
	jobs     map[job.ID]*job.Job
	held     map[job.UserID]int // added to the state's
	total    int                // sum of held
	requests map[requestKey]Receipt
}

// newDraft begins with the present state. Reading it takes no lock: nobody but the committer writes it.
func newDraft(q *Queue) *draft {
	return &draft{
		q: q, seq: q.state.seq, cluster: q.state.cluster,
		jobs: map[job.ID]*job.Job{}, held: map[job.UserID]int{}, requests: map[requestKey]Receipt{},
	}
}

// take checks a request and encodes its events. After an error the draft is as before.
func (d *draft) take(r *request, now time.Time) error {
	if s, ok := r.bodies[0].(*job.Submitted); ok && len(r.bodies) == 1 {
		return d.takeSubmit(r, s, now)
	}
	changed := map[job.ID]*job.Job{}
	for _, b := range r.bodies {
		ev := job.Event{At: now, Body: b}
		for _, id := range b.Jobs() {
			old := changed[id]
			if old == nil {
				old = d.job(id)
			}
			if old == nil {
				return fmt.Errorf("%w: there is no job %v", ErrMisfit, id)
			}
			next, err := old.Apply(ev)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrMisfit, err)
			}
			changed[id] = &next
		}
		if err := r.add(ev); err != nil {
			return err
		}
	}
	for id, j := range changed {
		d.jobs[id] = j
	}
	d.number(r)
	return nil
}

func (d *draft) takeSubmit(r *request, s *job.Submitted, now time.Time) error {
	key := requestKey{s.User, s.Request}
	if known, ok := d.known(key); ok {
		r.receipt = known
		return nil
	}
	if err := d.room(s.User, len(s.Procs)); err != nil {
		return err
	}
	s.Cluster = d.cluster + 1
	ev := job.Event{At: now, Body: s}
	jobs, err := job.Create(ev)
	if err != nil {
		return err
	}
	if err := r.add(ev); err != nil {
		return err
	}
	for i := range jobs {
		d.jobs[jobs[i].ID] = &jobs[i]
	}
	d.cluster = s.Cluster
	d.held[s.User] += len(jobs)
	d.total += len(jobs)
	d.number(r)
	r.receipt = Receipt{Cluster: s.Cluster, Seq: d.seq}
	d.requests[key] = r.receipt
	return nil
}

// add encodes an event of the request.
func (r *request) add(ev job.Event) error {
	record, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if len(record) > maxRecord {
		return &diag.Problem{
			What: fmt.Sprintf("the %s event of %d bytes is larger than the queue log takes (%d)", ev.Body.Kind(), len(record), maxRecord),
			Hint: "submit fewer jobs at a time, or send less inline",
		}
	}
	r.records = append(r.records, record)
	r.events = append(r.events, ev)
	return nil
}

// number gives a good request's events their sequence numbers.
func (d *draft) number(r *request) {
	for i := range r.events {
		d.seq++
		r.events[i].Seq = d.seq
	}
}

func (d *draft) job(id job.ID) *job.Job {
	if j := d.jobs[id]; j != nil {
		return j
	}
	return d.q.state.jobs[id]
}

func (d *draft) known(key requestKey) (Receipt, bool) {
	if key.request == "" {
		return Receipt{}, false
	}
	if r, ok := d.requests[key]; ok {
		return r, true
	}
	r, ok := d.q.state.requests[key]
	return r, ok
}

// room checks the limits for n more jobs of a user.
func (d *draft) room(user job.UserID, n int) error {
	if has, most := d.q.state.held[user]+d.held[user], d.q.cfg.MaxPerUser; has+n > most {
		return &diag.Problem{
			What: fmt.Sprintf("%d more jobs would make %d, and a user may have %d in the queue", n, has+n, most),
			Hint: "wait until some have ended and been fetched, or remove some with skua rm",
		}
	}
	if total := d.q.state.total + d.total; total+n > d.q.cfg.MaxJobs {
		return &diag.Problem{
			What: fmt.Sprintf("the pool's queue is full (%d jobs)", total),
			Hint: "try again when some have ended",
		}
	}
	return nil
}
