package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// Bounds of looking at running jobs' files.
const (
	maxPeeks    = 128             // under way at a time
	peekTimeout = 5 * time.Second // after which the machine counts as silent
)

// peeks are the questions to agents that wait for their answers.
type peeks struct {
	mu      sync.Mutex
	waiting map[string]peek // guarded by mu; by the id of the control message
}

type peek struct {
	agent  job.AgentID
	answer chan wire.Peeked // takes one without being read
}

// add begins to wait. It is false when too many do.
func (p *peeks) add(id string, agent job.AgentID) (chan wire.Peeked, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= maxPeeks {
		return nil, false
	}
	if p.waiting == nil {
		p.waiting = map[string]peek{}
	}
	answer := make(chan wire.Peeked, 1)
	p.waiting[id] = peek{agent, answer}
	return answer, true
}

func (p *peeks) remove(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
}

// answered takes an agent's answer to whoever waits for it.
func (p *peeks) answered(agent job.AgentID, m wire.Peeked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.waiting[m.ID]; ok && w.agent == agent {
		delete(p.waiting, m.ID)
		w.answer <- m
	}
}

// peekRow brings a piece of a file of the one selected running job. Only its own user may see it.
func (s *Server) peekRow(ctx context.Context, p *page, user job.UserID, q wire.Query) error {
	sel := q.Select
	sel.AllUsers = false
	j, err := s.one(user, sel)
	if err != nil {
		return err
	}
	if q.Peek == nil || !safeName(q.Peek.File) {
		return problem("which file of job %v? names are plain paths in its scratch directory", j.ID)
	}
	if not := notRunning(j); not != "" {
		hint := fmt.Sprintf("skua why %v says more", j.ID)
		if j.State == job.Completed {
			hint = fmt.Sprintf("skua fetch %v brings its files", j.ID)
		}
		return &diag.Problem{What: fmt.Sprintf("job %v cannot be looked into: %s", j.ID, not), Hint: hint}
	}
	id := rand.Text()
	answer, ok := s.peeks.add(id, j.Claim.Agent)
	if !ok {
		return &diag.Problem{What: "too many files are being looked at", Hint: "try again in a moment"}
	}
	defer s.peeks.remove(id)
	want := *q.Peek
	if want.Limit <= 0 || want.Limit > wire.MaxPeek {
		want.Limit = wire.MaxPeek
	}
	s.publish(wire.ControlSubject(j.Claim.Agent), wire.Control{
		V: wire.Version, ClaimRef: wire.ClaimRef{Job: j.ID, Claim: j.Claim.ID, Epoch: j.Epoch}, Do: wire.PeekClaim, ID: id, Peek: &want,
	})
	timer := time.NewTimer(peekTimeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &diag.Problem{
			What: fmt.Sprintf("%s, where job %v runs, does not answer", j.Claim.Machine, j.ID),
			Hint: "it may be asleep or cut off for the moment; try again later",
		}
	case m := <-answer:
		if m.Fail != nil {
			return m.Fail.Err()
		}
		if len(m.Data) > want.Limit {
			return problem("%s sent more of %s than was asked for", j.Claim.Machine, want.File)
		}
		m.ID = ""
		p.add("", m)
		return nil
	}
}
