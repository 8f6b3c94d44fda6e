package queue

import (
	"time"

	"skua/internal/job"
)

// Goodput is what came of the processor time of all the pool's jobs, those that are forgotten included.
type Goodput struct {
	job.Goodput
	Since time.Time `json:"since,omitzero"` // nothing before that is in it
}

// count notes what has become of a job.
func (s *state) count(old, next *job.Job, at time.Time) {
	if s.goodput.Since.IsZero() {
		s.goodput.Since = at
	}
	s.goodput.Goodput = s.goodput.Plus(next.Goodput().Minus(old.Goodput()))
}

// Goodput tells what came of the processor time of the pool's jobs.
func (q *Queue) Goodput() Goodput {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.state.goodput
}
