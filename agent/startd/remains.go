package startd

import (
	"sync"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// remains are the claims that no slot has any more and of which something may still be on the machine: files, a report
// that has not arrived, processes that could not be ended. Of all others an agent can say that nothing of them runs.
type remains struct {
	mu      sync.Mutex // guards what follows
	claims  map[job.ClaimID]struct{}
	unknown bool // something remains, and nobody knows of which claim
}

func (r *remains) add(claim job.ClaimID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claims == nil {
		r.claims = make(map[job.ClaimID]struct{})
	}
	r.claims[claim] = struct{}{}
}

func (r *remains) addUnknown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown = true
}

func (r *remains) remove(claim job.ClaimID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claims, claim)
}

// none reports whether nothing can be left of a claim that no slot has.
func (r *remains) none(claim job.ClaimID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, some := r.claims[claim]
	return !some && !r.unknown
}

// buried tells the matchmaker that nothing runs any more of a claim that it has called dead, or that nobody here knows, so
// that the job need not wait for the end of the lease before it runs elsewhere. If the word is lost, it does.
func (d *Daemon) buried(claim wire.ClaimRef) {
	data, err := wire.Encode(wire.Done{V: wire.Version, ClaimRef: claim, Outcome: wire.Killed})
	if err == nil {
		err = d.cfg.Bus.Publish(wire.AgentSubject(d.cfg.Agent, wire.VerbDone), data)
	}
	if err != nil {
		d.log.Debug("the end of a claim is not reported", diag.KeyJob, claim.Job, diag.KeyError, err)
	}
}
