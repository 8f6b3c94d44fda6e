package queue

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
)

// draft is the state that the requests taken so far would lead to.
type draft struct {
	q        *Queue
	seq      uint64
	chain    chain
	cluster  int
	jobs     map[job.ID]*job.Job
	clusters map[int]draftCluster // that are new, or of which jobs enter
	held     map[job.UserID]int   // added to the state's
	total    int                  // sum of held
	requests map[requestKey]Receipt
}

// draftCluster is a cluster as far as a draft changes it.
type draftCluster struct {
	*job.Cluster
	known  int // jobs below are the state's, or among those of the draft
	opened int
	closed bool
}

// newDraft begins with the present state. Reading it takes no lock: nobody but the committer writes it.
func newDraft(q *Queue) *draft {
	return &draft{
		q: q, seq: q.state.seq, chain: q.state.chain, cluster: q.state.cluster,
		jobs: map[job.ID]*job.Job{}, clusters: map[int]draftCluster{}, held: map[job.UserID]int{}, requests: map[requestKey]Receipt{},
	}
}

// take checks a request and encodes its events. After an error the draft is as before.
func (d *draft) take(r *request, now time.Time) error {
	if s, ok := r.bodies[0].(*job.Submitted); ok && len(r.bodies) == 1 {
		return d.takeSubmit(r, s, now)
	}
	jobs, clusters := map[job.ID]*job.Job{}, map[int]draftCluster{}
	held := map[job.UserID]int{}
	for _, b := range r.bodies {
		ev := job.Event{At: now, Body: b}
		switch b := b.(type) {
		case *job.Submitted:
			return fmt.Errorf("commit: a cluster comes alone")
		case *job.Opened:
			c, ok := d.clusterIn(clusters, b.Cluster)
			if !ok || c.closed || b.From != c.opened || b.Upto <= b.From || b.Upto > c.Len() {
				return fmt.Errorf("%w: procs %d until before %d of cluster %d are not the next to come", ErrMisfit, b.From, b.Upto, b.Cluster)
			}
			if err := d.room(c.User, held[c.User]+b.Upto-b.From); err != nil {
				return err
			}
			held[c.User] += b.Upto - b.From
			c.opened = b.Upto
			clusters[b.Cluster] = c
		case *job.Closed:
			c, ok := d.clusterIn(clusters, b.Cluster)
			if !ok || c.closed || c.opened == c.Len() {
				return fmt.Errorf("%w: nothing of cluster %d is to come", ErrMisfit, b.Cluster)
			}
			c.closed = true
			clusters[b.Cluster] = c
		default:
			for _, id := range b.Jobs() {
				old := jobs[id]
				if old == nil {
					old = d.job(id, now)
				}
				if old == nil {
					return fmt.Errorf("%w: there is no job %v", ErrMisfit, id)
				}
				next, err := old.Apply(ev)
				if err != nil {
					return fmt.Errorf("%w: %w", ErrMisfit, err)
				}
				jobs[id] = &next
			}
		}
		if err := r.add(ev); err != nil {
			return err
		}
	}
	maps.Copy(d.jobs, jobs)
	maps.Copy(d.clusters, clusters)
	for user, n := range held {
		d.held[user] += n
		d.total += n
	}
	d.number(r)
	return nil
}

// takeSubmit takes a new cluster. Of one with late materialization the first jobs enter at once.
func (d *draft) takeSubmit(r *request, s *job.Submitted, now time.Time) error {
	key := requestKey{s.User, s.Request}
	if known, ok := d.known(key); ok {
		r.receipt = known
		return nil
	}
	s.Cluster = d.cluster + 1
	ev := job.Event{At: now, Body: s}
	c, err := job.NewCluster(ev, r.table)
	if err != nil {
		return err
	}
	first := min(c.Len(), c.Late.Room(0, 0))
	if err := d.room(s.User, first); err != nil {
		return err
	}
	if err := d.roomForTable(c); err != nil {
		return err
	}
	if err := r.add(ev); err != nil {
		return err
	}
	if c.Late.Limits() {
		if err := r.add(job.Event{At: now, Body: &job.Opened{Cluster: s.Cluster, Upto: first}}); err != nil {
			return err
		}
	}
	d.cluster = s.Cluster
	d.clusters[s.Cluster] = draftCluster{Cluster: c, opened: first}
	d.held[s.User] += first
	d.total += first
	d.number(r)
	r.cluster, r.receipt = c, Receipt{Cluster: s.Cluster, Seq: r.events[0].Seq}
	d.requests[key] = r.receipt
	return nil
}

// clusterIn gives a cluster as the events taken so far leave it, those of the request at hand included.
func (d *draft) clusterIn(request map[int]draftCluster, number int) (draftCluster, bool) {
	if c, ok := request[number]; ok {
		return c, true
	}
	if c, ok := d.clusters[number]; ok {
		return c, true
	}
	if c := d.q.state.clusters[number]; c != nil {
		return draftCluster{Cluster: c.Cluster, known: c.opened, opened: c.opened, closed: c.closed}, true
	}
	return draftCluster{}, false
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

// number gives a good request's events their sequence numbers and their place in the chain.
func (d *draft) number(r *request) {
	for i := range r.events {
		d.seq++
		r.events[i].Seq = d.seq
		r.records[i], d.chain = d.chain.seal(r.records[i])
	}
	r.chain = d.chain
}

func (d *draft) job(id job.ID, now time.Time) *job.Job {
	if j := d.jobs[id]; j != nil {
		return j
	}
	if c, ok := d.clusters[id.Cluster]; ok && id.Proc >= c.known && id.Proc < c.opened {
		return c.Job(id.Proc, now)
	}
	return d.q.state.job(id)
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

// maxTables is how many bytes the tables of one user's clusters may have in memory.
const maxTables = 4 * job.MaxTable

// roomForTable checks the limit for one more table.
func (d *draft) roomForTable(c *job.Cluster) error {
	if c.Table() == nil {
		return nil
	}
	size := c.Table().Size()
	for _, k := range d.q.state.owned[c.User] {
		if t := k.Table(); t != nil {
			size += t.Size()
		}
	}
	if size > maxTables {
		return &diag.Problem{
			What: fmt.Sprintf("what differs between your jobs comes to %d MB, and %d MB are possible", size>>20, maxTables>>20),
			Hint: "wait until some have ended, or make the jobs differ in less",
		}
	}
	return nil
}
