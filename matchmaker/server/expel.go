package server

import (
	"context"
	"errors"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// MemberPutOut is to be called when somebody has been put out of the pool: jobs of users who have been are held, and
// machines that have been are in the pool no more.
func (s *Server) MemberPutOut() {
	select {
	case s.putOut <- struct{}{}:
	default:
	}
}

// expel holds the jobs of users who have been put out, who cannot do so themselves any more, until ctx ends. It looks for them
// at the start too: the matchmaker that led before may not have come to it. What enters the queue later, such as what
// follows in a cluster with late materialization, waits; see [Server.waiting].
func (s *Server) expel(ctx context.Context) error {
	for {
		var again <-chan time.Time
		if err := s.holdPutOut(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("jobs of users who were put out are not held yet", diag.KeyError, err)
			again = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.putOut:
		case <-again:
		}
	}
}

// holdPutOut holds the jobs of all users who have been put out, and forgets the slots of machines.
func (s *Server) holdPutOut(ctx context.Context) error {
	out := map[job.UserID]bool{}
	for _, m := range s.cfg.Roster.Members() {
		switch {
		case !s.cfg.Roster.PutOut(m.ID):
		case m.Kind == trust.User:
			out[job.UserID(m.ID)] = true
		case m.Kind == trust.Agent:
			s.slots.Forget(job.AgentID(m.ID))
		}
	}
	for user := range out {
		held, err := s.holdAll(ctx, user, "its user was put out of the pool")
		if err != nil {
			return err
		}
		if held > 0 {
			s.log.Info("jobs held of a user who was put out", diag.KeyUser, user, "jobs", held)
		}
	}
	return nil
}

// holdAll holds all jobs of a user who was put out that are not held, and gives their number.
func (s *Server) holdAll(ctx context.Context, user job.UserID, reason string) (held int, err error) {
	var bodies []job.Body
	commit := func() bool {
		for i, cerr := range s.cfg.Queue.CommitEach(ctx, bodies) {
			switch {
			case cerr == nil:
				held++
				s.entrust(bodies[i].Jobs()[0], func(ctx context.Context, k *keeper) { k.withdraw(ctx) })
			case !errors.Is(cerr, queue.ErrMisfit): // which is one that has ended at the same moment
				err = cerr
			}
		}
		bodies = nil
		return err == nil
	}
	s.cfg.Queue.Walk(queue.Filter{User: user, Live: true}, func(j *job.Job) bool {
		if j.State == job.Held {
			return true
		}
		bodies = append(bodies, &job.HeldBack{Job: j.ID, Reason: reason, Code: job.HoldBySystem, Usage: s.runOf(j)})
		return len(bodies) < maxActed || commit()
	})
	if err == nil {
		commit()
	}
	return held, err
}

// goodbye is how long a machine that is to be put out of the pool has to end its jobs.
const goodbye = 5 * time.Second

// SendAway has a machine end the jobs that it has, before it is put out of the pool: once it is out it cannot say that nothing
// of them runs any more, and they are offered to no other before their leases are over. It gives the number of those jobs. From
// now on nothing is offered to the machine, until done is called, which is for when it is out.
func (s *Server) SendAway(ctx context.Context, agent job.AgentID) (left int, done func()) {
	s.mu.Lock()
	s.leaving[agent] = true
	s.mu.Unlock()
	s.slots.Forget(agent)
	patience := time.Now().Add(goodbye)
	for {
		left = 0
		for _, j := range s.cfg.Queue.Claimed() {
			if j.Claim.Agent != agent || j.Claim.Lapsed {
				continue
			}
			left++
			if s.wishFor(j).do != wire.EvictClaim {
				s.control(j, wish{wire.EvictClaim, "its machine was put out of the pool"})
			}
		}
		for _, j := range s.cfg.Queue.Lingering() { // it has been told
			if j.Lingering.Agent == agent {
				left++
			}
		}
		if left == 0 || time.Now().After(patience) || pause.For(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	return left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.leaving, agent)
	}
}

// leaves says whether a machine is being put out of the pool.
func (s *Server) leaves(agent job.AgentID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving[agent]
}
