package server

import (
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

// wish is what somebody wants of a claim that runs. The agent is told at once, and again with every
// grant: it may have been away. A matchmaker that was restarted has forgotten it; what the agent was
// told stands.
type wish struct {
	do     wire.ControlVerb
	reason string
}

// leaves says whether the job is to leave its machine.
func (w wish) leaves() bool { return w.do == wire.VacateClaim || w.do == wire.EvictClaim }

// command has a user's wish for a job that runs carried out. not is why that cannot be.
func (s *Server) command(j *job.Job, do wire.ActionVerb, reason string) (not string) {
	if not := notRunning(j); not != "" {
		return not
	}
	verbs := map[wire.ActionVerb]wire.ControlVerb{
		wire.Suspend: wire.SuspendClaim, wire.Continue: wire.ContinueClaim,
		wire.Vacate: wire.VacateClaim, wire.Evict: wire.EvictClaim,
	}
	verb, before := verbs[do], s.wishFor(j).do
	switch {
	case (before == wire.VacateClaim || before == wire.EvictClaim) && verb != wire.EvictClaim:
		return "it is about to leave its machine"
	case verb == wire.ContinueClaim && j.State == job.Running && before != wire.SuspendClaim:
		return "it is not suspended"
	case verb == wire.ContinueClaim && before != wire.SuspendClaim && j.State == job.Suspended && j.LastReason != wire.PausedByUser:
		return "its machine has suspended it (" + j.LastReason + "), and lets it go on by itself"
	}
	if !s.control(j, wish{verb, reason}) {
		return "it stopped running at the same moment"
	}
	return ""
}

func notRunning(j *job.Job) string {
	switch j.State {
	case job.Running, job.Suspended:
		return ""
	case job.Held:
		return "it is held"
	case job.Idle:
		return "it is not running"
	}
	return ended(j)
}

// control tells the agent that runs the job what is wanted of it. It is false when the claim is gone.
func (s *Server) control(j *job.Job, w wish) bool {
	s.mu.Lock()
	k := s.keepers[j.ID]
	ok := k != nil && j.Claim != nil && k.claim == j.Claim.ID
	if ok {
		k.wish = w
	}
	s.mu.Unlock()
	if !ok {
		return false
	}
	s.publish(wire.ControlSubject(j.Claim.Agent), wire.Control{
		V: wire.Version, ClaimRef: wire.ClaimRef{Job: j.ID, Claim: j.Claim.ID, Epoch: j.Epoch}, Do: w.do,
	})
	return true
}

// wishFor gives what is wanted of the job's present claim.
func (s *Server) wishFor(j *job.Job) wish {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keepers[j.ID]; k != nil && j.Claim != nil && k.claim == j.Claim.ID {
		return k.wish
	}
	return wish{}
}

// runOf gives what the job's present run has used, as last heard; its time up to now.
func (s *Server) runOf(j *job.Job) job.Usage {
	u := j.Run
	s.mu.Lock()
	if k := s.keepers[j.ID]; k != nil && j.Claim != nil && k.claim == j.Claim.ID {
		u = k.usage
	}
	s.mu.Unlock()
	if j.Claim != nil && j.Claim.Started && !j.Claim.Lapsed {
		u.Wall = max(u.Wall, time.Since(j.LastStart))
	}
	return u
}

// measured is the job with what its present run has used as last heard, which the log need not have yet.
func (s *Server) measured(j *job.Job) *job.Job {
	if j.Claim == nil {
		return j
	}
	now := *j
	now.Run = s.runOf(j)
	return &now
}
