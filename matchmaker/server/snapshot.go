package server

import (
	"maps"
	"time"

	"skua/internal/job"
	"skua/matchmaker/jobpolicy"
	"skua/matchmaker/negotiate"
	"skua/policy/classad"
)

// slotKey names a slot; the name alone is only what an agent says it is.
type slotKey struct {
	agent job.AgentID
	slot  string
}

// snapshot is the pool as a cycle sees it, and how many slots are free.
func (s *Server) snapshot() (snapshot negotiate.Snapshot, free int) {
	s.forgetSilent()
	now := time.Now()
	snapshot = negotiate.Snapshot{Now: now, Limits: s.cfg.Limits, Names: map[job.UserID]string{}}
	s.mu.Lock()
	snapshot.Served = maps.Clone(s.served)
	s.mu.Unlock()
	claimed := map[slotKey]bool{}
	snapshot.Claims = s.claims(s.slotAds())
	for _, c := range snapshot.Claims {
		claimed[slotKey{c.Agent, c.Slot}] = true
		snapshot.Names[c.User] = s.names.of(c.User)
	}
	for _, sl := range s.slots.Slots() {
		key := slotKey{sl.Agent, sl.Name}
		slot := negotiate.Slot{Name: sl.Name, Agent: sl.Agent, Machine: sl.Machine, Ad: sl.Ad}
		switch state, _ := sl.Ad.Str("State"); {
		case claimed[key]:
			slot.Status = negotiate.Claimed
		case state == "Owner":
			slot.Status = negotiate.Owner
		case state != "Unclaimed": // also of a claim that is over here, but not there yet
			slot.Status = negotiate.Claimed
		case s.rests.resting(key, now):
			slot.Status = negotiate.Resting
		default:
			free++
		}
		snapshot.Slots = append(snapshot.Slots, slot)
	}
	snapshot.Jobs = s.waiting(now)
	for _, b := range snapshot.Jobs {
		if _, ok := snapshot.Names[b.User]; !ok {
			snapshot.Names[b.User] = s.names.of(b.User)
		}
	}
	snapshot.Accounts = s.accounts(now, snapshot.Names)
	return snapshot, free
}

// slotAds are the ads of all slots.
func (s *Server) slotAds() map[slotKey]*classad.Ad {
	ads := map[slotKey]*classad.Ad{}
	for _, sl := range s.slots.Slots() {
		ads[slotKey{sl.Agent, sl.Name}] = sl.Ad
	}
	return ads
}

// claims are the claims that stand, with the limits that their jobs count against. ads are those of the
// slots.
func (s *Server) claims(ads map[slotKey]*classad.Ad) []negotiate.Claim {
	var all []negotiate.Claim
	add := func(j *job.Job, c *job.Claim) {
		all = append(all, negotiate.Claim{
			Job: j.ID, User: j.User, Nice: negotiate.Nice(j.Ad), Agent: c.Agent, Slot: c.Slot,
			Limits: negotiate.LimitsOf(j.Ad, ads[slotKey{c.Agent, c.Slot}]),
		})
	}
	for _, j := range s.cfg.Queue.Claimed() {
		if !j.Claim.Lapsed {
			add(j, j.Claim)
		}
	}
	for _, j := range s.cfg.Queue.Lingering() {
		add(j, j.Lingering) // a copy may still be running
	}
	return all
}

// waiting are the jobs that wait for a slot.
func (s *Server) waiting(now time.Time) []negotiate.Batch {
	var all []negotiate.Batch
	for _, b := range s.cfg.Queue.Waiting(perBatch) {
		j := b.First
		ad := j.CurrentAd()
		notBefore, ok := s.startable(j.ID, ad, now)
		if !ok {
			continue
		}
		prio, _ := ad.Int("JobPrio")
		all = append(all, negotiate.Batch{
			Cluster: b.Cluster, Procs: b.Procs, User: j.User, Prio: int(prio), Nice: negotiate.Nice(ad), NotBefore: notBefore, Avoid: j.Avoid,
			Ad: ad, Varies: b.Varies, AdOf: func(proc int) *classad.Ad { return b.Job(proc).CurrentAd() },
		})
	}
	return all
}

// perBatch are the attributes that are looked at once for all jobs of a batch.
var perBatch = []string{
	"JobPrio", "NiceUser", "AcctGroup", attrNoop, attrDeferralTime, attrDeferralWindow, "DeferralPrepTime",
	"CronMinute", "CronHour", "CronDayOfMonth", "CronMonth", "CronDayOfWeek",
}

// startable says when a job may be offered; the zero time is now. ok is false for one that is not to be
// offered at all: its policy is about to see to it.
func (s *Server) startable(id job.ID, ad *classad.Ad, now time.Time) (notBefore time.Time, ok bool) {
	if noop, _ := ad.Bool(attrNoop); noop {
		return time.Time{}, false
	}
	if due, _ := cronDue(ad, now); !due.IsZero() {
		return time.Time{}, false // its next time is about to be set
	}
	may, from, _ := jobpolicy.Startable(ad, now)
	if !may && from.IsZero() {
		return time.Time{}, false
	}
	if until := s.again.until(id); until.After(from) {
		from = until
	}
	return from, true
}

// accounts are the accounts of users up to now, those of the users named at least.
func (s *Server) accounts(now time.Time, named map[job.UserID]string) map[job.UserID]negotiate.Account {
	all := s.cfg.Queue.Accounts(now)
	for user := range named {
		if _, ok := all[user]; !ok {
			all[user] = negotiate.Account{}
		}
	}
	for user, a := range all {
		if a.Factor == 0 {
			a.Factor = s.cfg.DefaultFactor
			all[user] = a
		}
	}
	return all
}
