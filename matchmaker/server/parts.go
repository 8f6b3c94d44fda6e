package server

import (
	"skua/internal/job"
	"skua/matchmaker/collector"
	"skua/policy"
	"skua/policy/classad"
)

// parentKey names the slot that an agent's slot was carved out of, itself if it was not: what is offered and
// what rests.
func parentKey(agent job.AgentID, slot string) slotKey {
	return slotKey{agent, policy.ParentName(slot)}
}

// carved is what jobs take of a partitionable slot.
type carved struct {
	parts policy.Parts
	jobs  int
}

// unadvertised is what claims take of partitionable slots that the slots' ads do not know of yet: they have
// been offered and not answered, or a newer ad is on its way.
func (s *Server) unadvertised(slots []collector.Slot) map[slotKey]carved {
	whole := map[slotKey]*classad.Ad{}
	dynamic := map[slotKey]bool{}
	type run struct {
		agent job.AgentID
		job   string
	}
	told := map[run]bool{} // the jobs of dynamic slots
	for i := range slots {
		switch sl := &slots[i]; {
		case sl.Partitionable:
			whole[slotKey{sl.Agent, sl.Name}] = sl.Ad
		case sl.Job != "":
			dynamic[slotKey{sl.Agent, sl.Name}], told[run{sl.Agent, sl.Job}] = true, true
		}
	}
	if len(whole) == 0 {
		return nil
	}
	all := map[slotKey]carved{}
	add := func(j *job.Job, c *job.Claim) {
		parent := parentKey(c.Agent, c.Slot)
		ad, ok := whole[parent]
		if !ok {
			return
		}
		// A claim that followed another has what that one had.
		if told[run{c.Agent, j.ID.String()}] || c.After != "" && dynamic[slotKey{c.Agent, c.Slot}] {
			return
		}
		r, sum := policy.RequestOf(j.CurrentAd(), ad), all[parent]
		share, fits := r.Carve(policy.PartsOf(ad).Minus(sum.parts), policy.WholeOf(ad))
		if !fits {
			share = r.Parts
		}
		all[parent] = carved{sum.parts.Plus(share), sum.jobs + 1}
	}
	for _, j := range s.cfg.Queue.Claimed() {
		if !j.Claim.Lapsed {
			add(j, j.Claim)
		}
	}
	for _, j := range s.cfg.Queue.Lingering() {
		add(j, j.Lingering)
	}
	return all
}

// slotAd is the ad of a slot, or that of the slot it was carved out of while its own has not come; nil if
// neither is known.
func (s *Server) slotAd(agent job.AgentID, slot string) *classad.Ad {
	return adIn(s.slotAds(), agent, slot)
}

// adIn is slotAd where the ads of all slots are at hand.
func adIn(ads map[slotKey]*classad.Ad, agent job.AgentID, slot string) *classad.Ad {
	if ad := ads[slotKey{agent, slot}]; ad != nil {
		return ad
	}
	return ads[parentKey(agent, slot)]
}
