package queue

import (
	"fmt"

	"skua/internal/job"
)

// state is what the events up to seq add up to. It reads no clock, and equal events give equal states.
type state struct {
	seq     uint64
	cluster int // the highest number given
	users   map[int]job.UserID
	jobs    map[job.ID]*job.Job

	// Parts of jobs.
	live    map[job.UserID]map[job.ID]*job.Job // not ended
	idle    map[job.ID]*job.Job                // could be offered
	claimed map[job.ID]*job.Job                // have a claim, lapsed ones included
	ended   map[job.ID]*job.Job

	held  map[job.UserID]int // jobs that count against the limits: not ended, or to be fetched
	total int                // sum of held

	maxHistory int
	history    []job.ID // ended and done with, in the order in which they became so

	requests     map[requestKey]Receipt
	requestOrder []requestKey

	accounts accounts
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
		jobs:       map[job.ID]*job.Job{},
		live:       map[job.UserID]map[job.ID]*job.Job{},
		idle:       map[job.ID]*job.Job{},
		claimed:    map[job.ID]*job.Job{},
		ended:      map[job.ID]*job.Job{},
		held:       map[job.UserID]int{},
		maxHistory: maxHistory,
		requests:   map[requestKey]Receipt{},
		accounts:   newAccounts(),
	}
}

// apply advances the state by one event. After an error it is as before.
func (s *state) apply(ev job.Event) error {
	switch b := ev.Body.(type) {
	case *job.LeaderEpoch:
	case *job.Factored:
		s.accounts.factor(b.User, b.Factor, ev.At)
	case *job.Submitted:
		if b.Cluster <= s.cluster {
			return fmt.Errorf("cluster %d comes after cluster %d", b.Cluster, s.cluster)
		}
		jobs, err := job.Create(ev)
		if err != nil {
			return err
		}
		s.cluster = b.Cluster
		s.users[b.Cluster] = b.User
		for i := range jobs {
			s.put(&jobs[i])
		}
		s.remember(requestKey{b.User, b.Request}, Receipt{b.Cluster, ev.Seq})
	default:
		for _, id := range ev.Body.Jobs() {
			old, ok := s.jobs[id]
			if !ok {
				return fmt.Errorf("event %s for job %v, which is not there", ev.Body.Kind(), id)
			}
			next, err := old.Apply(ev)
			if err != nil {
				return err
			}
			s.put(&next)
			s.accounts.moved(&next, ev.At)
		}
	}
	s.seq = ev.Seq
	return nil
}

// put makes j the present form of its job, in every part it belongs to.
func (s *state) put(j *job.Job) {
	old := s.jobs[j.ID]
	s.jobs[j.ID] = j
	ended := j.State.Ended()
	if ended {
		delete(s.live[j.User], j.ID)
		if len(s.live[j.User]) == 0 {
			delete(s.live, j.User)
		}
	} else {
		if s.live[j.User] == nil {
			s.live[j.User] = map[job.ID]*job.Job{}
		}
		s.live[j.User][j.ID] = j
	}
	place(s.ended, j, ended)
	place(s.claimed, j, j.Claim != nil)
	place(s.idle, j, offerable(j))

	wasHeld, isHeld := old != nil && counts(old), counts(j)
	switch {
	case isHeld && !wasHeld:
		s.held[j.User]++
		s.total++
	case wasHeld && !isHeld:
		if s.held[j.User]--; s.held[j.User] == 0 {
			delete(s.held, j.User)
		}
		s.total--
		s.retire(j.ID)
	}
}

func place(part map[job.ID]*job.Job, j *job.Job, in bool) {
	if in {
		part[j.ID] = j
	} else {
		delete(part, j.ID)
	}
}

// offerable says whether a job may be offered: a lapsed claim does not keep it, an open offer does.
func offerable(j *job.Job) bool {
	return j.State == job.Idle && (j.Claim == nil || j.Claim.Lapsed)
}

// counts says whether a job counts against the limits.
func counts(j *job.Job) bool {
	return !j.State.Ended() || j.State == job.Completed && !j.Delivered
}

// retire makes a job history, and forgets the oldest beyond the bound.
func (s *state) retire(id job.ID) {
	s.history = append(s.history, id)
	for len(s.history) > s.maxHistory {
		delete(s.jobs, s.history[0])
		delete(s.ended, s.history[0])
		s.history = s.history[1:]
	}
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
	for _, id := range ev.Body.Jobs() {
		return s.users[id.Cluster]
	}
	return ""
}
