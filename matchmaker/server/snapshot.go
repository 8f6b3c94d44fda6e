package server

import (
	"maps"
	"time"

	"skua/internal/job"
	"skua/matchmaker/collector"
	"skua/matchmaker/negotiate"
	"skua/policy"
	"skua/policy/classad"
)

// slotKey names a slot; the name alone is only what an agent says it is.
type slotKey struct {
	agent job.AgentID
	slot  string
}

// snapshot is the pool as a cycle sees it.
func (s *Server) snapshot() negotiate.Snapshot {
	snapshot, _ := s.snapshotSlots(time.Now())
	s.addJobs(&snapshot)
	return snapshot
}

// snapshotSlots is the part of a snapshot that tells of slots and claims, and how many slots are free.
func (s *Server) snapshotSlots(now time.Time) (snapshot negotiate.Snapshot, free int) {
	s.forgetSilent()
	snapshot = negotiate.Snapshot{Now: now, Limits: s.cfg.Limits, Memo: &s.memo}
	slots := s.slots.Slots()
	claimed := map[slotKey]bool{}
	snapshot.Claims = s.claims(adsOf(slots))
	for _, c := range snapshot.Claims {
		claimed[slotKey{c.Agent, c.Slot}] = true
	}
	pending := s.unadvertised(slots)
	for _, sl := range slots {
		key := slotKey{sl.Agent, sl.Name}
		slot := negotiate.Slot{Name: sl.Name, Agent: sl.Agent, Machine: sl.Machine, Ad: sl.Ad}
		if p, ok := pending[key]; ok {
			slot.Ad = policy.Taken(sl.Ad, p.parts, p.jobs)
		}
		switch state, _ := sl.Ad.Str("State"); {
		case claimed[key] && !sl.Partitionable:
			slot.Status = negotiate.Claimed
		case state == "Owner":
			slot.Status = negotiate.Owner
		case state != "Unclaimed": // also of a claim that is over here, but not there yet
			slot.Status = negotiate.Claimed
		case s.rests.resting(key, now):
			slot.Status = negotiate.Resting
		case sl.Partitionable && !policy.HasRoom(slot.Ad):
			slot.Status = negotiate.Claimed
		default:
			free++
		}
		snapshot.Slots = append(snapshot.Slots, slot)
	}
	return snapshot, free
}

// addJobs completes a snapshot with the jobs that wait, and with their users.
func (s *Server) addJobs(snapshot *negotiate.Snapshot) {
	s.mu.Lock()
	snapshot.Served = maps.Clone(s.served)
	s.mu.Unlock()
	snapshot.Jobs = s.waiting(snapshot.Now)
	snapshot.Names = map[job.UserID]string{}
	name := func(user job.UserID) {
		if _, ok := snapshot.Names[user]; !ok {
			snapshot.Names[user] = s.names.of(user)
		}
	}
	for _, c := range snapshot.Claims {
		name(c.User)
	}
	for _, b := range snapshot.Jobs {
		name(b.User)
	}
	snapshot.Accounts = s.accounts(snapshot.Now, snapshot.Names)
}

// slotAds are the ads of all slots.
func (s *Server) slotAds() map[slotKey]*classad.Ad { return adsOf(s.slots.Slots()) }

// adsOf are the ads of slots.
func adsOf(slots []collector.Slot) map[slotKey]*classad.Ad {
	ads := make(map[slotKey]*classad.Ad, len(slots))
	for _, sl := range slots {
		ads[slotKey{sl.Agent, sl.Name}] = sl.Ad
	}
	return ads
}

// claims are the claims that stand, with the limits that their jobs count against. ads are those of the
// slots.
func (s *Server) claims(ads map[slotKey]*classad.Ad) []negotiate.Claim {
	var all []negotiate.Claim
	var view job.View
	add := func(j *job.Job, c *job.Claim) {
		all = append(all, negotiate.Claim{
			Job: j.ID, User: j.User, Nice: negotiate.Nice(j.Ad), Agent: c.Agent, Slot: c.Slot,
			Limits: limitsOf(j, adIn(ads, c.Agent, c.Slot), &view),
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
