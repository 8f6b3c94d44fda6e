package negotiate

import (
	"skua/internal/job"
	"skua/internal/why"
	"skua/policy"
	"skua/policy/classad"
)

// parting is a partitionable slot during a cycle: several jobs may take a part of it, as long as there is
// enough left for the next.
type parting struct {
	ad    *classad.Ad  // as it is now
	left  policy.Parts // what it has now
	whole policy.Parts // what it had before any job came
	jobs  int64        // how many more it may have
	given []job.ID     // those of this cycle
}

func newParting(ad *classad.Ad) *parting {
	return &parting{ad: ad, left: policy.PartsOf(ad), whole: policy.WholeOf(ad), jobs: policy.JobsLeft(ad)}
}

// has reports whether there is as much left as a job asks for.
func (p *parting) has(ad *classad.Ad) bool {
	return p.jobs > 0 && policy.RequestOf(ad, p.ad).Fits(p.left)
}

// takes reports whether a job that suited the slot at the cycle's beginning suits what is left of it.
func (p *parting) takes(ad *classad.Ad) bool {
	if !p.has(ad) {
		return false
	}
	if len(p.given) == 0 {
		return true
	}
	requirements, _ := needs(ad)
	return requirements.Eval(ad, p.ad).IsTrue() && p.ad.Eval(classad.AttrRequirements, ad).IsTrue()
}

// give gives a job that the slot takes its part.
func (p *parting) give(id job.ID, ad *classad.Ad) {
	share, ok := policy.RequestOf(ad, p.ad).Carve(p.left, p.whole)
	if !ok {
		return
	}
	p.ad = policy.Taken(p.ad, share, 1)
	p.left = p.left.Minus(share)
	p.jobs--
	p.given = append(p.given, id)
}

// lacks is what there is too little of for a job; false if nothing.
func (p *parting) lacks(slot string, ad *classad.Ad) (why.Room, bool) {
	r := why.Room{Slot: slot, Lacks: policy.RequestOf(ad, p.ad).Lacks(p.left)}
	if p.jobs <= 0 && len(r.Lacks) == 0 {
		n, _ := p.ad.Int(policy.AttrDynamicSlots)
		r.Jobs = int(n)
		return r, true
	}
	return r, len(r.Lacks) > 0
}

// closer reports whether a room comes closer to what a job asks for than another.
func closer(r, than why.Room) bool {
	if len(r.Lacks) != len(than.Lacks) || len(r.Lacks) == 0 {
		return len(r.Lacks) < len(than.Lacks)
	}
	return r.Lacks[0].Left > than.Lacks[0].Left
}

// parting gives what is known of a partitionable slot, nil for another.
func (c *cycle) parting(slot int) *parting {
	if c.parts == nil {
		return nil
	}
	return c.parts[slot]
}

// partition finds the partitionable slots.
func (c *cycle) partition() {
	if len(c.index.partitionable) == 0 {
		return
	}
	c.parts = make([]*parting, len(c.slots))
	for _, i := range c.index.partitionable {
		c.parts[i] = newParting(c.slots[i].Ad)
	}
}

// open reports whether a slot that matches a group still can be given to one of its jobs. Once it cannot,
// it cannot for the rest of the cycle.
func (c *cycle) open(g *group, slot int) bool {
	if p := c.parting(slot); p != nil {
		return p.takes(g.sample)
	}
	return c.taken[slot] == job.ID{}
}

// give gives a slot, or a part of it, to a job of a group.
func (c *cycle) give(slot int, id job.ID, g *group) {
	if p := c.parting(slot); p != nil {
		p.give(id, g.sample)
		return
	}
	c.taken[slot] = id
}

// given calls f for every job that got a slot in this cycle.
func (c *cycle) given(f func(job.ID)) {
	for _, id := range c.taken {
		if id != (job.ID{}) {
			f(id)
		}
	}
	for _, p := range c.parts {
		if p != nil {
			for _, id := range p.given {
				f(id)
			}
		}
	}
}

// entire is the cycle as it would be if no job had a part of a partitionable slot: what machines could do,
// which is what people are told of those that have too little left.
func (c *cycle) entire() *cycle {
	if c.parts == nil {
		return c
	}
	if c.empty == nil {
		e := *c
		e.parts, e.slots = nil, append([]Slot(nil), c.slots...)
		for _, i := range c.index.partitionable {
			e.slots[i].Ad = policy.Emptied(c.slots[i].Ad)
		}
		e.taken, e.shut = make([]job.ID, len(c.slots)), make([]shutting, len(c.slots))
		memo := new(Memo) // the ads are of this cycle only
		memo.begin()
		e.index = newIndex(e.slots, memo)
		memo.end()
		c.empty = &e
	}
	return c.empty
}

// entireGroup is the group over the slots of [cycle.entire].
func (c *cycle) entireGroup(g *group) *group {
	if c.parts == nil {
		return g
	}
	if g.entire == nil {
		g.entire = &group{sample: g.sample}
		c.entire().judge(g.entire)
	}
	return g.entire
}

// beside is the verdict on a partitionable slot that does not match as it is: whether that is because of
// the jobs that have parts of it.
func (c *cycle) beside(g *group, slot int, v verdict) verdict {
	p := c.parting(slot)
	if _, short := p.lacks(c.slots[slot].Name, g.sample); !short {
		if v == matching {
			return claimed // what is left does not suit for another reason
		}
		return v
	}
	switch e := c.entireGroup(g).verdicts[slot]; e {
	case matching, resting, claimed:
		return crowded
	default:
		return e
	}
}
