package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/jobpolicy"
	"skua/matchmaker/negotiate"
	"skua/matchmaker/queue"
)

// A slot keeps its claim from one job of a user to the next. The report of a job's end is answered with the
// next job, in one entry of the log, without a negotiation cycle of the whole pool in between. What such a
// cycle would decide about that slot is decided all the same: which user's turn it is, limits, the policy of
// slot and job. Only when the outcome is another job of the same user does the claim go on.

// DefaultWorklife is HTCondor's CLAIM_WORKLIFE.
const DefaultWorklife = 20 * time.Minute

// vacancy is a slot whose job has just ended, and which would take another one of the same user.
type vacancy struct {
	slot   slotKey
	job    *job.Job             // that has ended
	answer chan negotiate.Match // gets the next job, reserved; the zero Match when there is none
}

const (
	maxVacancies  = 256                    // that are looked at together
	vacancyLimit  = 300 * time.Millisecond // how long a report waits for its answer because of one
	maxReservable = 4096                   // jobs reserved at a time, more than there can be vacancies
)

// next gives the next job for a vacant slot, which the caller must release after it has been logged; false
// when there is none.
func (s *Server) next(ctx context.Context, agent job.AgentID, j *job.Job) (negotiate.Match, bool) {
	v := vacancy{slotKey{agent, j.Claim.Slot}, j, make(chan negotiate.Match, 1)}
	timer := time.NewTimer(vacancyLimit)
	defer timer.Stop()
	select {
	case s.vacancies <- v:
	case <-timer.C:
		return negotiate.Match{}, false
	case <-ctx.Done():
		return negotiate.Match{}, false
	}
	// Once it is taken it is answered, and what it reserves must be released.
	select {
	case m := <-v.answer:
		return m, m.Job != job.ID{}
	case <-ctx.Done():
		return negotiate.Match{}, false
	}
}

// succeed fills vacancies until ctx ends.
func (s *Server) succeed(ctx context.Context) error {
	for {
		var all []vacancy
		select {
		case <-ctx.Done():
			return nil
		case v := <-s.vacancies:
			all = append(all, v)
		}
	gather:
		for len(all) < maxVacancies {
			select {
			case v := <-s.vacancies:
				all = append(all, v)
			default:
				break gather
			}
		}
		next := s.fill(all)
		for i, v := range all {
			v.answer <- next[i]
		}
	}
}

// fill runs a cycle over the vacant slots alone, and reserves the jobs that it gives them.
func (s *Server) fill(all []vacancy) []negotiate.Match {
	next := make([]negotiate.Match, len(all))
	now := time.Now()
	snapshot := negotiate.Snapshot{Now: now, Limits: s.cfg.Limits, Memo: &s.vacancyMemo}
	if snapshot.Jobs = s.waiting(now); len(snapshot.Jobs) == 0 {
		return next
	}
	byJob, bySlot := map[job.ID]bool{}, map[slotKey]int{}
	for i, v := range all {
		byJob[v.job.ID] = true
		bySlot[v.slot] = i
	}
	slots := s.slots.Slots()
	for _, sl := range slots {
		key := slotKey{sl.Agent, sl.Name}
		if _, ok := bySlot[key]; ok && !s.rests.resting(parentKey(key.agent, key.slot), now) {
			snapshot.Slots = append(snapshot.Slots, negotiate.Slot{Name: sl.Name, Agent: sl.Agent, Machine: sl.Machine, Ad: sl.Ad})
		}
	}
	snapshot.Claims = slices.DeleteFunc(s.claims(adsOf(slots)), func(c negotiate.Claim) bool { return byJob[c.Job] })
	names := map[job.UserID]string{}
	for _, b := range snapshot.Jobs {
		names[b.User] = ""
	}
	snapshot.Accounts = s.accounts(now, names)
	s.mu.Lock()
	snapshot.Served = make(map[job.UserID]uint64, len(names))
	for user := range names {
		snapshot.Served[user] = s.served[user]
	}
	for _, c := range s.reserved {
		snapshot.Claims = append(snapshot.Claims, c)
	}
	s.mu.Unlock()
	for _, m := range negotiate.Cycle(snapshot).Matches {
		i := bySlot[slotKey{m.Slot.Agent, m.Slot.Name}]
		j, ok := s.cfg.Queue.Job(m.Job)
		if !ok || j.User != all[i].job.User || j.ID == all[i].job.ID || !quiet(j, now) {
			continue // its turn comes when the slot is free
		}
		if s.reserve(j, m.Slot) {
			next[i] = m
		}
	}
	return next
}

// quiet says whether a job's own policy wants nothing done with it now.
func quiet(j *job.Job, now time.Time) bool {
	return !jobpolicy.HasPeriodic(j.Ad) || jobpolicy.Periodic(j.CurrentAd(), now, j.State).Action == jobpolicy.Stay
}

// reserve keeps a job from being offered to anybody else until it is released.
func (s *Server) reserve(j *job.Job, slot negotiate.Slot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.reserved[j.ID]; taken || len(s.reserved) >= maxReservable {
		return false
	}
	s.reserved[j.ID] = negotiate.Claim{
		Job: j.ID, User: j.User, Nice: negotiate.Nice(j.Ad), Agent: slot.Agent, Slot: slot.Name,
		Limits: limitsOf(j, slot.Ad, new(job.View)),
	}
	return true
}

func (s *Server) release(id job.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reserved, id)
}

// unreserved leaves out the jobs that are reserved.
func (s *Server) unreserved(batches []negotiate.Batch) []negotiate.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reserved) == 0 {
		return batches
	}
	byCluster := map[int][]int{}
	for id := range s.reserved {
		byCluster[id.Cluster] = append(byCluster[id.Cluster], id.Proc)
	}
	left := batches[:0]
	for _, b := range batches {
		first := b.Procs[0].From
		for _, proc := range byCluster[b.Cluster] {
			b.Procs = without(b.Procs, proc)
		}
		if len(b.Procs) == 0 {
			continue
		}
		if b.Procs[0].From != first && b.AdOf != nil {
			b.Ad = b.AdOf(b.Procs[0].From) // the ad is that of the first
		}
		left = append(left, b)
	}
	return left
}

// without takes a proc out of ranges.
func without(ranges []negotiate.Range, proc int) []negotiate.Range {
	for i, r := range ranges {
		if proc < r.From || proc >= r.Upto {
			continue
		}
		var parts []negotiate.Range
		if r.From < proc {
			parts = append(parts, negotiate.Range{From: r.From, Upto: proc})
		}
		if proc+1 < r.Upto {
			parts = append(parts, negotiate.Range{From: proc + 1, Upto: r.Upto})
		}
		return slices.Concat(ranges[:i], parts, ranges[i+1:])
	}
	return ranges
}

// follow logs the end of a job, and with it what the slot goes on with, if there is such a job. The report is
// answered. It is false when the slot gets nothing new, and nothing has been logged or answered.
func (k *keeper) follow(ctx context.Context, m bus.Msg, j *job.Job, ended job.Body) bool {
	if time.Since(k.since) >= k.s.cfg.Worklife {
		return false
	}
	match, ok := k.s.next(ctx, k.grant.Agent, j)
	if !ok {
		return false
	}
	id := match.Job
	defer k.s.release(id)
	n, ok := k.s.cfg.Queue.Job(id)
	if !ok {
		return false
	}
	slot := j.Claim
	if len(k.s.cfg.Limits) > 0 {
		if ad := k.s.slotAd(slot.Agent, slot.Slot); limitsOf(n, ad, new(job.View)) != "" {
			room := k.s.limits.enter(k.s)
			defer room.leave()
			if !room.replace(j.ID, n, ad) {
				return false
			}
		}
	}
	o := &job.Offered{
		Job: id, Claim: newClaimID(), Epoch: n.Epoch + 1,
		Agent: slot.Agent, Slot: slot.Slot, Machine: slot.Machine, After: k.claim, Lease: k.s.leaseFor(n),
		Cpus: cpusOf(match.Slot.Ad, n),
	}
	// If the log gets only the first of them before a crash, the job has ended, and the next one is idle, or offered to a
	// slot that says no.
	err := k.s.cfg.Queue.CommitInOrder(ctx, ended, o, &job.Started{Job: id, Epoch: o.Epoch})
	if err != nil {
		if !errors.Is(err, queue.ErrMisfit) && ctx.Err() == nil {
			k.log.Warn("event about a claim not logged", diag.KeyError, err)
		}
		return false // the end alone may fit
	}
	if n, ok = k.s.cfg.Queue.Job(id); !ok || n.Claim == nil || n.Epoch != o.Epoch {
		k.s.reply(m, wire.Ack{V: wire.Version}) // its user has been quick to remove it
		return true
	}
	k.s.mu.Lock()
	k.s.offers++
	k.s.served[n.User] = k.s.offers
	k.s.mu.Unlock()
	terms := k.s.termsOf(n.Claim)
	k.log.Info("slot goes on", "next", n.ID, diag.KeySlot, slot.Slot)
	k.s.keepSince(ctx, job.Give(id, o.Claim, o.Epoch, o.Agent, k.s.cfg.Clock(), terms), terms, job.Usage{}, k.since)
	k.s.give(m, n, terms)
	return true
}

// give answers a report with the slot's next job.
func (s *Server) give(m bus.Msg, j *job.Job, terms job.Terms) {
	offer, err := s.offerOf(j, terms)
	if err != nil {
		s.log.Error("capabilities cannot be made", diag.KeyJob, j.ID, diag.KeyError, err)
		s.reply(m, wire.Ack{V: wire.Version})
		return
	}
	data, err := wire.Encode(wire.Ack{V: wire.Version, Next: &offer})
	if err != nil {
		// The claim comes to nothing after the time of an offer, and an offer of its own says what is wrong.
		s.log.Warn("next job cannot be sent with an answer", diag.KeyJob, j.ID, diag.KeyError, err)
		s.reply(m, wire.Ack{V: wire.Version})
		return
	}
	s.send(m, data)
}

// giveAgain answers a report that has been answered before with a job of which nothing has been heard since:
// that answer may have been lost. It is false for all other reports.
func (s *Server) giveAgain(m bus.Msg, agent job.AgentID, done wire.Done) bool {
	s.mu.Lock()
	id, ok := s.given[done.Claim]
	s.mu.Unlock()
	return ok && done.More && s.entrust(id, func(_ context.Context, k *keeper) {
		j, stands := k.job()
		next, ok := k.grant.GiveAgain(agent, k.s.cfg.Clock(), k.terms)
		if !stands || !ok || j.Claim.After != done.Claim {
			k.s.reply(m, wire.Ack{V: wire.Version, Stale: true})
			return
		}
		k.grant = next
		k.s.give(m, j, k.terms)
	})
}

// returned takes back a claim that its agent was given and does not want.
func (k *keeper) returned(ctx context.Context, agent job.AgentID, claim job.ClaimID, reason string) {
	next, ok := k.grant.Returned(agent, claim)
	if !ok {
		return
	}
	k.rest()
	if err := k.commit(ctx, &job.Evicted{Job: k.grant.Job, Epoch: k.grant.Epoch, Reason: shorten(reason)}); err != nil {
		return // it ends by its time
	}
	k.log.Info("next job refused", "why", shorten(reason))
	k.grant = next
}
