package server

import (
	"sync"
	"time"

	"skua/internal/job"
)

// rests remembers what failed at once: slots that gave back an offer or a job, and jobs of which a run
// that was over in a moment is to be repeated. Each is left in peace for a while, longer every time, so
// that a machine that refuses everything, or a job that fails for ever, does not fill the log.
type rests[K comparable] struct {
	mu  sync.Mutex
	all map[K]rest // guarded by mu
}

type rest struct {
	until time.Time
	times int
}

const (
	firstRest   = time.Second
	longestRest = 5 * time.Minute
	soon        = 30 * time.Second // what is over within this was over at once
)

// add begins a rest and says for how long.
func (r *rests[K]) add(key K, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[K]rest{}
	}
	x := r.all[key]
	d := min(firstRest<<min(x.times, 16), longestRest)
	r.all[key] = rest{until: now.Add(d), times: x.times + 1}
	return d
}

// clear forgets the past: all went well.
func (r *rests[K]) clear(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, key)
}

func (r *rests[K]) resting(key K, now time.Time) bool { return now.Before(r.until(key)) }

// until gives the end of a rest, the zero time without one.
func (r *rests[K]) until(key K) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[key].until
}

// prune forgets those whose rest is long over.
func (r *rests[K]) prune(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, x := range r.all {
		if now.Sub(x.until) > longestRest {
			delete(r.all, key)
		}
	}
}

// rest leaves a slot alone for a while and has the negotiator look again afterwards.
func (s *Server) rest(agent job.AgentID, slot string) {
	d := s.rests.add(parentKey(agent, slot), time.Now())
	time.AfterFunc(d, s.matchAgain) // which starts nothing and waits for nothing
}

// restJob leaves a job alone for a while that is to run again.
func (s *Server) restJob(id job.ID) {
	d := s.again.add(id, time.Now())
	time.AfterFunc(d, s.matchAgain)
}
