package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/trust"
	"skua/internal/wire"
	"skua/matchmaker/queue"
)

// keeper keeps the matchmaker's half of one claim. Its state belongs to one goroutine, which carries out
// errands one after another: log first, then answer.
type keeper struct {
	s       *Server
	log     *slog.Logger
	terms   job.Terms
	claim   job.ClaimID
	after   job.ClaimID // the claim whose report was answered with this one; "" for none
	errands chan errand
	stop    chan struct{} // closed when a newer claim has replaced this one

	wish  wish      // guarded by s.mu
	usage job.Usage // of the run, as last heard; guarded by s.mu

	logged   job.Usage // the measurement that the log has
	measured time.Time // when that was logged, or the keeper began

	grant   job.Grant
	started time.Time // when the claim was granted, if that was in this process
	since   time.Time // when the first of the claims began that have followed each other in the slot
	heard   time.Time // when the agent was last heard of about the claim, or asked
	again   bool      // the clock's verdict could not be logged: look again soon
	told    bool      // the agent, that the claim is withdrawn
	waits   bool      // the agent's report, for another matchmaker
}

// errand is something to do for a claim.
type errand func(ctx context.Context, k *keeper)

const (
	maxErrands = 16          // an agent asks again, so what finds no room is dropped
	retry      = time.Second // after the log has refused an event

	// missedRenewals is how many times an agent could have renewed a claim before it is asked whether it has it. It may
	// have lost it: it did not hear that it was granted, or its disk is another one. The lease would tell that much later.
	missedRenewals = 3
)

// recover takes up the claims that the log has, each with a full fresh lease.
func (s *Server) recover(ctx context.Context) {
	now := s.cfg.Clock()
	for _, j := range s.cfg.Queue.Claimed() {
		terms := s.termsOf(j.Claim)
		s.keep(ctx, job.Recover(j.ID, j.Epoch, *j.Claim, now, terms), terms, j.Run)
	}
	for _, j := range s.cfg.Queue.Lingering() {
		terms := s.termsOf(j.Lingering)
		s.keep(ctx, job.Recover(j.ID, j.Epoch, *j.Lingering, now, terms), terms, j.Run)
	}
	s.matchAgain()
}

// keep starts the keeper of a claim, in the place of the one of the job's claim before. used is what its
// run has used as far as the log knows.
func (s *Server) keep(ctx context.Context, g job.Grant, terms job.Terms, used job.Usage) {
	s.keepSince(ctx, g, terms, used, time.Now())
}

// keepSince is keep for a claim that has followed others since some time.
func (s *Server) keepSince(ctx context.Context, g job.Grant, terms job.Terms, used job.Usage, since time.Time) {
	k := &keeper{
		s: s, terms: terms, claim: g.Claim, grant: g, usage: used, logged: used,
		log:     s.log.With(diag.KeyJob, g.Job, diag.KeyEpoch, g.Epoch, diag.KeyAgent, g.Agent),
		errands: make(chan errand, maxErrands),
		stop:    make(chan struct{}),
		since:   since,
		heard:   time.Now(), measured: time.Now(),
	}
	if g.Given {
		k.started = time.Now()
	}
	if j, ok := s.cfg.Queue.Job(g.Job); ok && j.Claim != nil && j.Claim.ID == g.Claim {
		k.after = j.Claim.After
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if old := s.keepers[g.Job]; old != nil {
		close(old.stop)
	}
	s.keepers[g.Job] = k
	if k.after != "" {
		s.given[k.after] = g.Job
	}
	s.running.Go(func() { k.run(ctx) })
}

// entrust gives an errand to the keeper of a job's latest claim. It is false when there is no such
// claim.
func (s *Server) entrust(id job.ID, e errand) bool {
	s.mu.Lock()
	k := s.keepers[id]
	s.mu.Unlock()
	if k == nil {
		return false
	}
	select {
	case k.errands <- e:
	default:
		k.log.Debug("message about a claim dropped: too many at a time")
	}
	return true
}

// run carries out errands and looks at the clock until nothing of the claim counts any more, or the matchmaker stops.
// Then the keeper stays on the table: an agent whose word still comes gets no answer and asks again, which is another
// thing than to hear that its claim is dead.
func (k *keeper) run(ctx context.Context) {
	for k.grant.Phase != job.Over {
		var timer *time.Timer
		var due <-chan time.Time
		if at, ok := k.grant.Due(); ok {
			wait := max(at.Sub(k.s.cfg.Clock()), 0)
			if k.again {
				wait = retry
			}
			if k.grant.Phase == job.Granted {
				wait = min(wait, max(time.Until(k.doubtful()), 0))
			}
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-k.stop:
		case e := <-k.errands:
			e(ctx, k)
		case <-due:
			k.tick(ctx)
		}
		if timer != nil {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-k.stop:
			k.leave()
			return
		default:
		}
	}
	k.leave()
}

// leave takes the keeper off the table, unless another has taken its place there.
func (k *keeper) leave() {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if k.s.keepers[k.grant.Job] == k {
		delete(k.s.keepers, k.grant.Job)
	}
	if k.s.given[k.after] == k.grant.Job {
		delete(k.s.given, k.after)
	}
}

// job gives the job as it is now. stands is false when its user has taken the claim away, or a newer one
// has been made; the keeper then has nothing left to keep. j is nil for a job that has been forgotten.
func (k *keeper) job() (j *job.Job, stands bool) {
	j, ok := k.s.cfg.Queue.Job(k.grant.Job)
	switch {
	case ok && j.Epoch == k.grant.Epoch && j.Claim != nil:
		return j, true
	case !ok || j.Epoch != k.grant.Epoch || j.Lingering == nil:
		k.grant.Phase = job.Over
	}
	return j, false
}

// lingers says whether the claim has been taken from its job, and a copy may still be running.
func (k *keeper) lingers() bool {
	j, ok := k.s.cfg.Queue.Job(k.grant.Job)
	return ok && j.Epoch == k.grant.Epoch && j.Lingering != nil
}

// departed takes the agent's word that nothing of a lingering claim runs any more. If that cannot be logged,
// the end of the lease says it again.
func (k *keeper) departed(ctx context.Context) {
	if k.lingers() {
		_ = k.depart(ctx, "its agent says so")
	}
}

// depart logs that nothing of a lingering claim runs any more.
func (k *keeper) depart(ctx context.Context, how string) error {
	err := k.commit(ctx, &job.Departed{Job: k.grant.Job, Epoch: k.grant.Epoch})
	if err == nil {
		k.log.Info("claim that was withdrawn is over", "how", how)
		k.grant.Phase = job.Over
	}
	return err
}

// commit logs events about the claim. When they do not fit, the claim is dead: a user has removed or held
// the job, or a newer offer has been made.
func (k *keeper) commit(ctx context.Context, bodies ...job.Body) error {
	err := k.s.cfg.Queue.Commit(ctx, bodies...)
	if errors.Is(err, queue.ErrMisfit) {
		k.log.Info("claim has ended meanwhile", diag.KeyError, err)
		if !k.lingers() {
			k.grant.Phase = job.Over
		}
	} else if err != nil && ctx.Err() == nil {
		k.log.Warn("event about a claim not logged", diag.KeyError, err)
	}
	return err
}

// doubtful is when the agent is asked whether it has the claim.
func (k *keeper) doubtful() time.Time { return k.heard.Add(missedRenewals * k.terms.Renew) }

// tick does what the clock asks for.
func (k *keeper) tick(ctx context.Context) {
	if now := time.Now(); k.grant.Phase == job.Granted && !now.Before(k.doubtful()) {
		k.heard = now
		k.s.publish(wire.ControlSubject(k.grant.Agent), wire.Control{
			V:        wire.Version,
			ClaimRef: wire.ClaimRef{Job: k.grant.Job, Claim: k.grant.Claim, Epoch: k.grant.Epoch},
			Do:       wire.ConfirmClaim,
		})
	}
	next, record := k.grant.Tick(k.s.cfg.Clock())
	var err error
	if k.lingers() {
		if record != job.NoRecord {
			err = k.depart(ctx, "its lease has run out")
		}
		k.again = err != nil
		return
	}
	switch record {
	case job.NoRecord:
		k.again = false
		return
	case job.RecordDecline:
		if !k.again {
			k.rest()
		}
		if err = k.commit(ctx, &job.Declined{Job: next.Job, Epoch: next.Epoch, Reason: "the machine did not answer the offer"}); err == nil {
			k.s.doubt(k.grant.Agent)
		}
	case job.RecordLapse:
		k.log.Warn("lease has run out")
		if !k.again {
			k.rest()
		}
		lapsed := &job.Lapsed{Job: next.Job, Epoch: next.Epoch}
		if k.usage == k.logged {
			err = k.commit(ctx, lapsed)
		} else if err = k.commit(ctx, &job.Measured{Job: next.Job, Epoch: next.Epoch, Usage: k.usage}, lapsed); err == nil {
			k.logged = k.usage // should nothing more be heard of it, that is what the run has cost
		}
	}
	k.again = err != nil
	if err == nil {
		k.grant = next
	}
}

// rest leaves the slot of the claim alone for a while.
func (k *keeper) rest() {
	if j, stands := k.job(); stands {
		k.s.rest(k.grant.Agent, j.Claim.Slot)
	}
}

// withdraw ends the claim of a job that its user has removed or held, once the log has that.
func (k *keeper) withdraw(context.Context) {
	j, stands := k.job()
	if stands || k.told {
		return
	}
	k.told = true // also of a job that has been released meanwhile: its last run is to end
	cause := wire.ForHold
	if j != nil && j.State == job.Removed {
		cause = wire.ForRemove
	}
	k.s.publish(wire.ControlSubject(k.grant.Agent), wire.Control{
		V:        wire.Version,
		ClaimRef: wire.ClaimRef{Job: k.grant.Job, Claim: k.grant.Claim, Epoch: k.grant.Epoch},
		Do:       wire.KillClaim, For: cause,
	})
}

// capabilities lets the run of a job read what the job owns and write what it makes. They last as long
// as a lease that is not renewed.
func (s *Server) capabilities(j *job.Job, t job.Terms) (read, write string, err error) {
	c := trust.Capability{
		User: string(j.User), Job: j.ID.String(), Epoch: uint64(j.Epoch),
		Mode: trust.Read, Expires: time.Now().Add(t.Outlives() + time.Minute),
	}
	if read, err = s.cfg.Sign(c); err != nil {
		return "", "", fmt.Errorf("capability to read for job %v: %w", j.ID, err)
	}
	c.Mode = trust.Write
	if write, err = s.cfg.Sign(c); err != nil {
		return "", "", fmt.Errorf("capability to write for job %v: %w", j.ID, err)
	}
	return read, write, nil
}
