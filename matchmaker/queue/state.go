package queue

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"skua/internal/blob"
	"skua/internal/job"
)

// state is what the events up to seq add up to. It reads no clock, and equal events give equal states.
type state struct {
	seq      uint64
	chain    chain                                   // after the record of seq
	cluster  int                                     // the highest number given
	users    map[int]job.UserID                      // by cluster, as long as an event about one can be asked for
	past     []pastCluster                           // those of users that are not in clusters any more, in the order of last
	clusters map[int]*cluster                        // those of which a job is in the queue or not forgotten, or to enter
	inOrder  []*cluster                              // the same, in the order of numbers
	owned    map[job.UserID][]*cluster               // the same by user, in the order of numbers
	late     map[int]*cluster                        // those of which jobs are to enter
	tables   func(*job.TableRef) (*job.Table, error) // reads the table of a cluster
	named    map[blob.Digest]uint64                  // the tables of clusters, with when each was last needed; 0 means now

	// Parts of the jobs that are not fresh.
	idle    map[job.ID]*job.Job // could be offered, and are not untried
	claimed map[job.ID]*job.Job // have a claim, lapsed ones included
	ended   map[job.ID]*job.Job
	lingers map[job.ID]*job.Job // have a lingering claim

	held  map[job.UserID]int // jobs that count against the limits: not ended, or to be fetched
	total int                // sum of held

	keepDone bool
	done     []doneJob // done with and not in the history on disk yet, if keepDone

	maxHistory int
	history    []job.ID // ended and done with, in the order in which they became so

	requests     map[requestKey]Receipt
	requestOrder []requestKey

	accounts accounts
	goodput  Goodput
}

// pastCluster is a cluster that has come to its end.
type pastCluster struct {
	Number int    `json:"cluster"`
	Last   uint64 `json:"last"` // no later event is about it
}

// requestKey is what makes a submit the same as an earlier one.
type requestKey struct {
	user    job.UserID
	request string
}

// maxRequests is how many submits are remembered. A client that lost its answer asks again within
// minutes.
const maxRequests = 100_000

func newState(maxHistory int) *state {
	return &state{
		users:      map[int]job.UserID{},
		clusters:   map[int]*cluster{},
		owned:      map[job.UserID][]*cluster{},
		late:       map[int]*cluster{},
		tables:     noTables,
		named:      map[blob.Digest]uint64{},
		idle:       map[job.ID]*job.Job{},
		claimed:    map[job.ID]*job.Job{},
		ended:      map[job.ID]*job.Job{},
		lingers:    map[job.ID]*job.Job{},
		held:       map[job.UserID]int{},
		maxHistory: maxHistory,
		requests:   map[requestKey]Receipt{},
		accounts:   newAccounts(),
	}
}

func noTables(*job.TableRef) (*job.Table, error) { return nil, errors.New("it has a table") }

// apply advances the state by one event. After an error it is as before.
func (s *state) apply(ev job.Event) error {
	switch b := ev.Body.(type) {
	case *job.LeaderEpoch:
	case *job.Factored:
		s.accounts.factor(b.User, b.Factor, ev.At)
	case *job.Submitted:
		c, err := s.makeCluster(ev, b)
		if err != nil {
			return err
		}
		return s.add(ev, c)
	case *job.Opened:
		c := s.clusters[b.Cluster]
		if err := mayOpen(c, b); err != nil {
			return err
		}
		s.open(c, b.Upto, ev.At)
	case *job.Closed:
		c := s.late[b.Cluster]
		if c == nil {
			return fmt.Errorf("event %s for cluster %d, of which nothing is to come", ev.Body.Kind(), b.Cluster)
		}
		c.closed = true
		delete(s.late, b.Cluster)
		s.drop(c)
	default:
		for _, id := range ev.Body.Jobs() {
			old := s.job(id)
			if old == nil {
				return fmt.Errorf("event %s for job %v, which is not there", ev.Body.Kind(), id)
			}
			next, err := old.Apply(ev)
			if err != nil {
				return err
			}
			s.put(old, &next)
			s.count(old, &next, ev.At)
			s.accounts.moved(&next, ev.At)
			if b, ok := b.(*job.Edited); ok {
				c := s.clusters[id.Cluster]
				c.late = c.late.Edited(&next, b.Set)
			}
		}
	}
	s.seq = ev.Seq
	return nil
}

// makeCluster makes the cluster that an event submits. It changes nothing.
func (s *state) makeCluster(ev job.Event, b *job.Submitted) (*job.Cluster, error) {
	var table *job.Table
	if b.Table != nil {
		var err error
		if table, err = s.tables(b.Table); err != nil {
			return nil, fmt.Errorf("cluster %d: %w", b.Cluster, err)
		}
	}
	return job.NewCluster(ev, table)
}

// add takes in the cluster that an event submits.
func (s *state) add(ev job.Event, c *job.Cluster) error {
	b := ev.Body.(*job.Submitted)
	if b.Cluster <= s.cluster {
		return fmt.Errorf("cluster %d comes after cluster %d", b.Cluster, s.cluster)
	}
	k := newCluster(c)
	s.cluster = b.Cluster
	s.users[b.Cluster] = b.User
	s.clusters[b.Cluster] = k
	s.inOrder = append(s.inOrder, k)
	s.owned[b.User] = append(s.owned[b.User], k)
	if b.Table != nil && b.Table.Digest != "" {
		s.named[b.Table.Digest] = 0
	}
	if c.Late.Limits() {
		s.late[b.Cluster] = k
	} else {
		s.open(k, c.Len(), ev.At)
	}
	s.remember(requestKey{b.User, b.Request}, Receipt{b.Cluster, ev.Seq})
	s.seq = ev.Seq
	return nil
}

// mayOpen says whether jobs may enter the queue.
func mayOpen(c *cluster, b *job.Opened) error {
	if c == nil || !c.more() || b.From != c.opened || b.Upto <= b.From || b.Upto > c.Len() {
		return fmt.Errorf("event %s for procs %d until before %d of cluster %d, which are not the next to come", b.Kind(), b.From, b.Upto, b.Cluster)
	}
	return nil
}

func (s *state) open(c *cluster, upto int, at time.Time) {
	s.hold(c.User, upto-c.opened)
	c.open(upto, at)
	if !c.more() {
		delete(s.late, c.Number)
	}
}

// job gives a job that is in the queue or not forgotten, else nil.
func (s *state) job(id job.ID) *job.Job {
	if c := s.clusters[id.Cluster]; c != nil {
		return c.job(id.Proc)
	}
	return nil
}

// put makes j the present form of its job, in every part it belongs to.
func (s *state) put(old, j *job.Job) {
	s.clusters[j.ID.Cluster].put(j, old.State)
	s.index(j)
	switch wasHeld, isHeld := counts(old), counts(j); {
	case isHeld && !wasHeld:
		s.hold(j.User, 1)
	case wasHeld && !isHeld:
		s.hold(j.User, -1)
		if s.keepDone {
			s.done = append(s.done, doneJob{s.seq + 1, j})
		}
		s.retire(j.ID)
	}
}

// index puts a job into the parts that it belongs to.
func (s *state) index(j *job.Job) {
	place(s.ended, j, j.State.Ended())
	place(s.claimed, j, j.Claim != nil)
	place(s.lingers, j, j.Lingering != nil)
	place(s.idle, j, offerable(j) && !j.Untried())
}

// hold counts n more jobs of a user against the limits.
func (s *state) hold(user job.UserID, n int) {
	s.total += n
	if s.held[user] += n; s.held[user] == 0 {
		delete(s.held, user)
	}
}

func place(part map[job.ID]*job.Job, j *job.Job, in bool) {
	if in {
		part[j.ID] = j
	} else {
		delete(part, j.ID)
	}
}

// offerable says whether a job may be offered: a lapsed claim does not keep it, an open offer and a lingering
// claim do.
func offerable(j *job.Job) bool {
	return j.State == job.Idle && j.Lingering == nil && (j.Claim == nil || j.Claim.Lapsed)
}

// waitsUntried says whether a job could be offered and never was.
func waitsUntried(j *job.Job) bool { return offerable(j) && j.Untried() }

// counts says whether a job counts against the limits.
func counts(j *job.Job) bool {
	return !j.State.Ended() || j.State == job.Completed && !j.Delivered
}

// retire makes a job history, and forgets the oldest beyond the bound.
func (s *state) retire(id job.ID) {
	s.history = append(s.history, id)
	for len(s.history) > s.maxHistory {
		old := s.history[0]
		s.history = s.history[1:]
		delete(s.ended, old)
		c := s.clusters[old.Cluster]
		delete(c.jobs, old.Proc)
		s.drop(c)
	}
}

// drop forgets a cluster that has come to its end.
func (s *state) drop(c *cluster) {
	if !c.gone() {
		return
	}
	if table := c.TableDigest(); table != "" {
		s.named[table] = s.seq + 1
	}
	s.past = append(s.past, pastCluster{c.Number, s.seq + 1})
	delete(s.clusters, c.Number)
	s.inOrder = without(s.inOrder, c)
	if s.owned[c.User] = without(s.owned[c.User], c); len(s.owned[c.User]) == 0 {
		delete(s.owned, c.User)
	}
}

// forgetTables forgets the tables that were last needed before an event, which the log has forgotten too.
func (s *state) forgetTables(before uint64) {
	needed := map[blob.Digest]bool{}
	for _, c := range s.inOrder {
		needed[c.TableDigest()] = true
	}
	maps.DeleteFunc(s.named, func(table blob.Digest, last uint64) bool {
		return last > 0 && last < before && !needed[table]
	})
}

// forgetUsers forgets whose the clusters were that no event from a sequence on is about: those before it are nowhere any
// more.
func (s *state) forgetUsers(before uint64) {
	n := 0
	for ; n < len(s.past) && s.past[n].Last < before; n++ {
		delete(s.users, s.past[n].Number)
	}
	s.past = slices.Delete(s.past, 0, n)
}

// without takes a cluster out of a list in the order of numbers.
func without(list []*cluster, c *cluster) []*cluster {
	i, _ := slices.BinarySearchFunc(list, c.Number, func(k *cluster, n int) int { return k.Number - n })
	return slices.Delete(list, i, i+1)
}

func (s *state) remember(key requestKey, r Receipt) {
	if key.request == "" {
		return
	}
	s.requests[key] = r
	s.requestOrder = append(s.requestOrder, key)
	for len(s.requestOrder) > maxRequests {
		delete(s.requests, s.requestOrder[0])
		s.requestOrder = s.requestOrder[1:]
	}
}

// userOf says whose jobs an event is about, "" for one about no job.
func (s *state) userOf(ev job.Event) job.UserID {
	if b, ok := ev.Body.(*job.Submitted); ok {
		return b.User
	}
	cluster, _ := job.ClusterOf(ev.Body)
	return s.users[cluster]
}
