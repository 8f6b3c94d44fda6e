package server

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"skua/internal/diag"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/negotiate"
	"skua/matchmaker/queue"
	"skua/policy"
	"skua/policy/classad"
)

// matchAgain has the negotiator look at the pool again, soon and once for all changes until then.
func (s *Server) matchAgain() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// negotiate runs one cycle after another, whenever something has changed.
func (s *Server) negotiate(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		start := time.Now()
		s.cycle(ctx)
		if took := time.Since(start); took > longCycle {
			// Each change calls for a cycle. In a large queue of which all changes, they would leave no time for
			// anything else.
			select {
			case <-ctx.Done():
			case <-time.After(min(took, longestBreak)):
			}
		}
	}
}

// After a cycle of more than longCycle there is a break of the same length.
const (
	longCycle    = 100 * time.Millisecond
	longestBreak = 10 * time.Second
)

func (s *Server) cycle(ctx context.Context) {
	snapshot, free := s.snapshotSlots(time.Now())
	if free == 0 {
		return // as after most ends of jobs: the slot goes on with another
	}
	if s.addJobs(&snapshot); len(snapshot.Jobs) == 0 {
		return
	}
	start := time.Now()
	plan := negotiate.Cycle(snapshot)
	s.log.Debug("negotiation cycle", "jobs", len(snapshot.Jobs), "slots", len(snapshot.Slots), "matches", len(plan.Matches),
		diag.KeyTook, time.Since(start))
	if len(plan.Matches) > 0 {
		s.offer(ctx, plan.Matches)
	}
}

// offer logs the matches and sends the offers.
func (s *Server) offer(ctx context.Context, matches []negotiate.Match) {
	room := s.limits.enter(s)
	defer room.leave()
	var bodies []job.Body
	var offered []*job.Offered
	for _, m := range matches {
		j, ok := s.cfg.Queue.Job(m.Job)
		if !ok || !room.take(j, m.Slot.Ad) {
			continue
		}
		o := &job.Offered{
			Job: j.ID, Claim: newClaimID(), Epoch: j.Epoch + 1,
			Agent: m.Slot.Agent, Slot: m.Slot.Name, Machine: m.Slot.Machine, Lease: s.leaseFor(j),
			Cpus: cpusOf(m.Slot.Ad, j),
		}
		bodies, offered = append(bodies, o), append(offered, o)
	}
	for i, err := range s.cfg.Queue.CommitEach(ctx, bodies) {
		o := offered[i]
		if err != nil {
			// A lapsed claim may have revived, or the user has removed the job: then there is nothing to offer.
			if !errors.Is(err, queue.ErrMisfit) && ctx.Err() == nil {
				s.log.Warn("offer not made", diag.KeyJob, o.Job, diag.KeyError, err)
			}
			continue
		}
		if j, ok := s.cfg.Queue.Job(o.Job); ok && j.Epoch == o.Epoch && j.Claim != nil {
			s.mu.Lock()
			s.offers++
			s.served[j.User] = s.offers
			s.mu.Unlock()
			terms := s.termsOf(j.Claim)
			s.keep(ctx, job.Offer(o.Job, o.Claim, o.Epoch, o.Agent, s.cfg.Clock(), terms), terms, job.Usage{})
			s.sendOffer(ctx, j, terms)
		}
	}
}

// sendOffer tells the agent. That it may not arrive is part of the protocol.
func (s *Server) sendOffer(ctx context.Context, j *job.Job, terms job.Terms) {
	offer, err := s.offerOf(j, terms)
	if err != nil {
		s.log.Error("capabilities cannot be made", diag.KeyJob, j.ID, diag.KeyError, err)
		return
	}
	data, err := wire.Encode(offer)
	if err != nil {
		// Submit's limits make this impossible; a job that would be offered for ever is worse than one held.
		s.log.Error("offer cannot be sent", diag.KeyJob, j.ID, diag.KeyError, err)
		reason := "the job is too large to be sent to a machine: " + err.Error()
		if err := s.cfg.Queue.Commit(ctx, &job.HeldBack{Job: j.ID, Reason: reason, Code: job.HoldStartFailed}); err != nil {
			s.log.Warn("job not held", diag.KeyJob, j.ID, diag.KeyError, err)
		}
		return
	}
	if err := s.cfg.Bus.Publish(wire.OfferSubject(j.Claim.Agent), data); err != nil {
		s.log.Debug("offer not sent", diag.KeyJob, j.ID, diag.KeyError, err)
		return
	}
	s.log.Info("job offered", diag.KeyJob, j.ID, diag.KeySlot, j.Claim.Slot, diag.KeyEpoch, j.Epoch)
}

// offerOf is what an agent must know of a job that it is to run.
func (s *Server) offerOf(j *job.Job, terms job.Terms) (wire.Offer, error) {
	read, write, err := s.capabilities(j, terms)
	if err != nil {
		return wire.Offer{}, err
	}
	key := s.cfg.ImageKey(j.ID)
	ad := j.CurrentAd().Flat()
	for _, name := range []string{fit.AttrRequirements, fit.AttrJobFiles} {
		ad.Delete(name) // the images say so, and an offer has a limit
	}
	return wire.Offer{
		V: wire.Version, Slot: j.Claim.Slot, Job: j.ID, Claim: j.Claim.ID, Epoch: j.Epoch, User: j.User,
		Ad: ad, Inputs: j.Inputs, Images: j.Images, Key: key[:], Read: read, Write: write,
		Terms: wire.Terms{Lease: terms.Lease, Renew: terms.Renew, Offer: terms.Offer},
	}, nil
}

// leaseFor gives the lease for a job's next claim: the pool's, or the job's own when it wants a shorter one.
func (s *Server) leaseFor(j *job.Job) time.Duration {
	const shortest = 10 * time.Second // below this, ordinary trouble on a network would end claims
	lease := s.cfg.Terms.Lease
	if secs, ok := j.Ad.Int("JobLeaseDuration"); ok && secs > 0 && secs < int64(lease/time.Second) {
		lease = min(lease, max(time.Duration(secs)*time.Second, shortest))
	}
	return lease
}

// cpusOf gives how many cpus of a slot a job gets: those that it asks for, or all of one that was carved out for the job
// before.
func cpusOf(slot *classad.Ad, j *job.Job) int64 {
	if dynamic, _ := slot.Bool(policy.AttrDynamic); dynamic {
		return policy.PartsOf(slot).Cpus
	}
	return policy.RequestOf(j.CurrentAd(), slot).Cpus
}

// termsOf gives the durations of a claim: the pool's, but with the lease that its agent was offered, whatever has become
// of the job and of the settings since. Where that is not known it is the pool's: a job's own is shorter.
func (s *Server) termsOf(c *job.Claim) job.Terms {
	t := s.cfg.Terms
	if c.Lease > 0 && c.Lease != t.Lease {
		t.Lease = c.Lease
		t.Renew = min(t.Renew, t.Lease/3)
	}
	return t
}

// newClaimID makes a name that nobody can guess.
func newClaimID() job.ClaimID { return job.ClaimID(strings.ToLower(rand.Text())) }
