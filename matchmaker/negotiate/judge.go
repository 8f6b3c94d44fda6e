package negotiate

import (
	"cmp"
	"slices"

	"skua/internal/job"
	"skua/policy/classad"
)

// cycle is the working state of one [Cycle].
type cycle struct {
	snapshot Snapshot
	slots    []Slot // by machine and name
	machine  []int  // of each slot: a number for its machine
	machines int
	taken    []job.ID // by slot: the job that got it in this cycle
	limits   *limits
	streams  map[int][]*stream // by cluster
	lines    *lines
	shut     []shutting // by slot: what is known of why no job may start there
}

func newCycle(s Snapshot) *cycle {
	c := &cycle{
		snapshot: s, slots: slices.Clone(s.Slots), taken: make([]job.ID, len(s.Slots)),
		limits: newLimits(s), streams: map[int][]*stream{}, shut: make([]shutting, len(s.Slots)),
	}
	slices.SortFunc(c.slots, func(a, b Slot) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Agent, b.Agent))
	})
	c.machine = make([]int, len(c.slots))
	for i := range c.slots {
		if i == 0 || c.slots[i].Machine != c.slots[i-1].Machine {
			c.machines++
		}
		c.machine[i] = c.machines - 1
	}
	all := grouped(slices.Clone(s.Jobs), c.slots) // the caller may go on with his own
	for _, st := range all {
		c.streams[st.batch.Cluster] = append(c.streams[st.batch.Cluster], st)
	}
	c.lines = newLines(s, all)
	return c
}

// pick gives the best free slot for the next job of a stream.
func (c *cycle) pick(st *stream) (slot int, ok bool) {
	g := st.group
	c.judge(g)
	for len(g.choice) > 0 && c.taken[g.choice[0]] != (job.ID{}) {
		g.choice = g.choice[1:]
	}
	avoided := -1
	for _, i := range g.choice {
		if c.taken[i] != (job.ID{}) {
			continue
		}
		if _, full := c.limits.full(c.wanted(g, i)); full {
			if !g.perSlot {
				return 0, false
			}
			continue
		}
		if !slices.Contains(st.batch.Avoid, c.slots[i].Machine) {
			return i, true
		}
		if avoided < 0 {
			avoided = i // a machine to avoid is better than none
		}
	}
	return avoided, avoided >= 0
}

// wanted is what a job of the group counts for on a slot.
func (c *cycle) wanted(g *group, slot int) []share {
	if g.perSlot {
		return parseLimits(LimitsOf(g.sample, c.slots[slot].Ad))
	}
	return g.limits
}

// verdict is the outcome of one job meeting one slot.
type verdict int8

// From the worst to the best, so that the best slot of a machine speaks for it.
const (
	unsuited verdict = iota // the job's Requirements do not hold
	unfit                   // those of its checkpoint do not
	unable                  // suits, but cannot run jobs at all
	unwanted                // suits, but its START says no
	closed                  // suits, but its hours are over
	owned                   // suits, but the owner uses it
	claimed                 // suits, but has a job
	resting                 // suits, but gave one back a moment ago
	matching
)

// judge lets the group meet every slot, once.
func (c *cycle) judge(g *group) {
	if g.judged {
		return
	}
	g.judged = true
	g.verdicts = make([]verdict, len(c.slots))
	if e, ok := g.sample.Lookup(attrLimits); ok {
		_, literal := e.Literal()
		if g.perSlot = !literal && len(e.ReferencesIn(g.sample).Target) > 0; !g.perSlot {
			g.limits = parseLimits(LimitsOf(g.sample, nil))
		}
	}
	requirements, checkpoint := needs(g.sample)
	type score struct{ mine, theirs float64 }
	scores := map[int]score{}
	for i := range c.slots {
		s := &c.slots[i]
		switch {
		case !requirements.Eval(g.sample, s.Ad).IsTrue():
			g.verdicts[i] = unsuited
		case checkpoint != nil && !checkpoint.Eval(g.sample, s.Ad).IsTrue():
			g.verdicts[i] = unfit
		case s.Status != Free && s.Status != Resting && !roomy(s.Ad, g.sample):
			g.verdicts[i] = unsuited // which the job's Requirements need not say
		case s.Status == Owner:
			// START says no just because the owner is there; that is not the news.
			g.verdicts[i] = owned
		case s.Status == Claimed:
			g.verdicts[i] = claimed
		case !s.Ad.Eval(classad.AttrRequirements, g.sample).IsTrue():
			g.verdicts[i] = unwanted
			if !roomy(s.Ad, g.sample) {
				g.verdicts[i] = unsuited
			}
		case s.Status == Resting:
			g.verdicts[i] = resting
		default:
			g.verdicts[i] = matching
			g.choice = append(g.choice, i)
			scores[i] = score{classad.Rank(g.sample, s.Ad), classad.Rank(s.Ad, g.sample)}
		}
	}
	slices.SortStableFunc(g.choice, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(scores[b].mine, scores[a].mine),
			cmp.Compare(scores[b].theirs, scores[a].theirs),
		)
	})
}

// needs gives what a job requires of a slot, nil for nothing at all, and what its checkpoint does, nil
// for nothing in particular.
func needs(ad *classad.Ad) (requirements, checkpoint *classad.Expr) {
	requirements, _ = ad.Lookup(classad.AttrRequirements)
	if n, _ := ad.Int(attrNumCkpts); n > 0 {
		checkpoint, _ = ad.Lookup(AttrCheckpointRequirements)
	}
	return requirements.Flatten(ad), checkpoint
}
