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
	before *classad.Ad  // as it was at the cycle's beginning
	ad     *classad.Ad  // as it is now
	taken  policy.Parts // in this cycle
	left   policy.Parts // what it has now
	whole  policy.Parts // what it had before any job came
	jobs   int64        // how many more it may have
	given  []job.ID     // those of this cycle
}

func newParting(ad *classad.Ad) *parting {
	return &parting{before: ad, ad: ad, left: policy.PartsOf(ad), whole: policy.WholeOf(ad), jobs: policy.JobsLeft(ad)}
}

// asks is what a job of the group asks of the slot.
func (p *parting) asks(g *group) policy.Request {
	if g.looksBack == unknown {
		g.looksBack = answerOf(policy.RequestLooksBack(g.sample))
		g.request = policy.RequestOf(g.sample, nil)
	}
	if g.looksBack == yes {
		return policy.RequestOf(g.sample, p.ad)
	}
	return g.request
}

// takes reports whether a group that suited the slot at the cycle's beginning suits what is left of it.
func (p *parting) takes(g *group) bool {
	if p.jobs <= 0 || !p.asks(g).Fits(p.left) {
		return false
	}
	if len(p.given) == 0 {
		return true
	}
	requirements, _ := needs(g.sample)
	return requirements.Eval(g.sample, p.ad).IsTrue() && p.ad.Eval(classad.AttrRequirements, g.sample).IsTrue()
}

// give gives a job of a group that the slot takes its part.
func (p *parting) give(id job.ID, g *group) {
	share, ok := p.asks(g).Carve(p.left, p.whole)
	if !ok {
		return
	}
	p.taken = p.taken.Plus(share)
	p.left = p.left.Minus(share)
	p.jobs--
	p.given = append(p.given, id)
	p.ad = policy.Taken(p.before, p.taken, len(p.given))
}

// lacks is what there is too little of for a group; false if nothing.
func (p *parting) lacks(slot string, g *group) (why.Room, bool) {
	r := why.Room{Slot: slot, Lacks: p.asks(g).Lacks(p.left)}
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
		return p.takes(g)
	}
	return c.taken[slot] == job.ID{}
}

// give gives a slot, or a part of it, to a job of a group.
func (c *cycle) give(slot int, id job.ID, g *group) {
	if p := c.parting(slot); p != nil {
		p.give(id, g)
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
	if _, short := p.lacks(c.slots[slot].Name, g); !short {
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
