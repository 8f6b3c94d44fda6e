package startd

import (
	"sync"
	"time"

	"skua/agent/slot"
	"skua/internal/job"
	"skua/internal/why"
	"skua/internal/wire"
	"skua/policy"
	"skua/policy/classad"
)

// parting divides a partitionable machine among its keepers, each of which keeps a dynamic slot. A keeper
// without a share keeps none: it waits for a job, and speaks for the partitionable slot until one comes.
type parting struct {
	d *Daemon

	mu     sync.Mutex // guards shares; held while keepers' states are read
	shares map[*keeper]share
}

// share is what a keeper's job has of the machine.
type share struct {
	claim job.ClaimID // for which it was carved out; others may have followed it
	parts policy.Parts
}

func newParting(d *Daemon) *parting { return &parting{d: d, shares: map[*keeper]share{}} }

// take carves a share out for an offer and gives the keeper that is to have it, the same for the same claim. It
// is nil, with the reason, when there is too little left.
func (p *parting) take(offer wire.Offer) (k *keeper, refused string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, s := range p.shares {
		if s.claim == offer.Claim {
			return k, ""
		}
	}
	ad := p.partition()
	r := policy.RequestOf(offer.Ad, ad)
	room := why.Room{Slot: policy.PartitionName(p.d.cfg.Machine), Jobs: len(p.shares)}
	parts, ok := r.Carve(policy.PartsOf(ad), policy.WholeOf(ad))
	if !ok {
		room.Lacks = r.Lacks(policy.PartsOf(ad))
		return nil, room.String()
	}
	if k = p.speaker(); k == nil {
		return nil, room.String()
	}
	p.shares[k] = share{offer.Claim, parts}
	return k, ""
}

// speaker is the keeper that the next job goes to: the first without a share whose slot takes jobs, else the
// first without one. It is called with mu held.
func (p *parting) speaker() *keeper {
	var first *keeper
	for _, k := range p.d.keepers {
		if _, has := p.shares[k]; has {
			continue
		}
		if k.state().State == slot.Unclaimed {
			return k
		}
		if first == nil {
			first = k
		}
	}
	return first
}

// partition is the ad of the partitionable slot, as far as it follows from the policy. It is called with mu held.
func (p *parting) partition() *classad.Ad {
	ad := p.granted()
	used, jobs := p.used()
	policy.PartitionAd(ad, used, jobs, len(p.d.keepers))
	ad.SetString("Name", policy.PartitionName(p.d.cfg.Machine))
	return ad
}

// granted is what the policy grants all jobs, as the ad of the machine's only slot.
func (p *parting) granted() *classad.Ad {
	rules := p.d.policy()
	ad := rules.SlotAd(p.d.facts.Load(), 1)
	ad.SetInt("SlotID", 1)
	if n := rules.SlotsConnected; n > 0 {
		ad.SetInt("SlotsConnectedToKeyboard", int64(min(n, len(p.d.keepers))))
	}
	return ad
}

// used is what all shares add up to. It is called with mu held.
func (p *parting) used() (sum policy.Parts, jobs int) {
	for _, s := range p.shares {
		sum = sum.Plus(s.parts)
	}
	return sum, len(p.shares)
}

// ad is the policy's part of the ad of a keeper's dynamic slot; without a share, of the partitionable slot.
func (p *parting) ad(k *keeper) *classad.Ad {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, has := p.shares[k]
	if !has {
		return p.partition()
	}
	ad := p.granted()
	policy.DynamicAd(ad, s.parts, k.num, len(p.shares))
	ad.SetString("Name", k.name)
	return ad
}

// of is a keeper's share; nil if it has none.
func (p *parting) of(k *keeper) *policy.Parts {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, has := p.shares[k]; has {
		return &s.parts
	}
	return nil
}

// holds reports whether a keeper's share was carved out for a claim.
func (p *parting) holds(k *keeper, claim job.ClaimID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, has := p.shares[k]
	return has && s.claim == claim
}

// restore gives a keeper back the share that an earlier agent carved out for a claim.
func (p *parting) restore(k *keeper, claim job.ClaimID, parts policy.Parts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shares[k] = share{claim, parts}
}

// release takes a keeper's share back.
func (p *parting) release(k *keeper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.shares, k)
}

// rests reports whether a keeper has nothing to look after: it has no share, and another one before it speaks
// for the slots without one that make way for the owner, or for those that do not.
func (p *parting) rests(k *keeper) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, has := p.shares[k]; has {
		return false
	}
	for _, other := range p.d.keepers {
		if other == k {
			return false
		}
		if _, has := p.shares[other]; !has && other.connected() == k.connected() {
			return true
		}
	}
	return false
}

// speaks gives the keeper in whose state the partitionable slot is, and that state.
func (p *parting) speaks() (*keeper, slot.Slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.speaker(); k != nil {
		return k, k.state()
	}
	// Every keeper has a job. What the slot would be without one, the last of them knows.
	k := p.d.keepers[len(p.d.keepers)-1]
	s := k.state()
	vacant := slot.Slot{State: slot.Owner, Activity: slot.Idle, Since: s.Since, Entered: s.Since}
	if s.Verdicts.Open {
		vacant.State = slot.Unclaimed
	}
	return k, vacant
}

// spoken is the partitionable slot's ad.
func (p *parting) spoken(now time.Time) *classad.Ad {
	k, s := p.speaks()
	p.mu.Lock()
	ad := p.partition()
	p.mu.Unlock()
	return k.complete(ad, now, s)
}

// ads are the machine's ads: the partitionable slot's, and those of the dynamic slots that have a job.
func (p *parting) ads(now time.Time) []*classad.Ad {
	all := []*classad.Ad{p.spoken(now).Flat()}
	for _, k := range p.d.keepers {
		if s := k.state(); s.Tenancy.Phase != job.Free && p.of(k) != nil {
			all = append(all, k.ad(now, s).Flat())
		}
	}
	return all
}

// offerPart has a part of the machine offered to a keeper.
func (d *Daemon) offerPart(offer wire.Offer) {
	k, refused := d.parts.take(offer)
	if k == nil {
		d.refuse(offer, refused)
		d.advertiseNow() // the matchmaker thinks that there is more
		return
	}
	offer.Slot = k.name
	for _, other := range d.keepers {
		if other == k || !d.parts.rests(other) && d.parts.of(other) == nil { // it may have rested until now
			other.post(func(at time.Time, _ job.Instant) slot.Event {
				return slot.Looked{At: at, Verdicts: other.verdicts(at)}
			})
		}
	}
	k.post(func(at time.Time, now job.Instant) slot.Event { return k.offered(offer, at, now) })
}

// giveBack takes back what was carved out for a job that has gone or has not been taken.
func (k *keeper) giveBack() {
	if k.d.parts != nil {
		k.d.parts.release(k)
		k.d.advertiseNow()
	}
}

// carved is the name of the dynamic slot, for the matchmaker; "" if the slot is not one.
func (k *keeper) carved() string {
	if k.d.parts == nil {
		return ""
	}
	return k.name
}
