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
	ranks    []ranking
	taken    []job.ID // by slot: the job that got it in this cycle
	index    *index
	limits   *limits
	streams  map[int][]*stream // by cluster
	lines    *lines
	shut     []shutting // by slot: what is known of why no job may start there
	parts    []*parting // by slot: those that are partitionable; nil if none is
	empty    *cycle     // see [cycle.entire]; nil until somebody asks
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
	c.ranks = make([]ranking, len(c.slots))
	for i := range c.slots {
		c.ranks[i] = newRanking(c.slots[i].Ad)
		if i == 0 || c.slots[i].Machine != c.slots[i-1].Machine {
			c.machines++
		}
		c.machine[i] = c.machines - 1
	}
	if s.Memo == nil {
		s.Memo = new(Memo)
	}
	s.Memo.begin()
	defer s.Memo.end()
	c.index = newIndex(c.slots, s.Memo)
	c.partition()
	all := grouped(slices.Clone(s.Jobs), c.slots, s.Memo) // the caller may go on with his own
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
	for len(g.choice) > 0 && !c.open(g, g.choice[0]) {
		g.choice = g.choice[1:]
	}
	avoided := -1
	for _, i := range g.choice {
		if !c.open(g, i) {
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
	paused                  // suits, but the person there has paused it
	busy                    // suits, but its owner's programs keep it busy
	owned                   // suits, but the owner uses it
	claimed                 // suits, but has a job
	crowded                 // suits as a whole, but other jobs leave too little of it
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
	suits, fits, accepts := c.index.required(requirements, g.sample), always, c.index.accepted(g.sample)
	if checkpoint != nil {
		fits = c.index.required(checkpoint, g.sample)
	}
	rank := newRanking(g.sample)
	scores := make([]score, len(c.slots))
	ranked := false
	for i := range c.slots {
		s := &c.slots[i]
		free := s.Status == Free || s.Status == Resting
		switch {
		case !suits(i):
			g.verdicts[i] = unsuited
		case !fits(i):
			g.verdicts[i] = unfit
		case !free && !roomy(s.Ad, g.sample):
			g.verdicts[i] = unsuited // which the job's Requirements need not say
		case s.Status == Owner:
			// START says no just because the owner is there; that is not the news.
			g.verdicts[i] = owned
		case s.Status == Claimed:
			g.verdicts[i] = claimed
		case accepts(i):
			g.verdicts[i] = matching
		case !roomy(s.Ad, g.sample):
			g.verdicts[i] = unsuited
		default:
			g.verdicts[i] = unwanted
		}
		if g.verdicts[i] != matching {
			continue
		}
		if s.Status == Resting {
			g.verdicts[i] = resting
			continue
		}
		g.choice = append(g.choice, i)
		scores[i] = score{rank.of(s.Ad), c.ranks[i].of(g.sample)}
		ranked = ranked || scores[i] != scores[g.choice[0]]
	}
	if !ranked {
		return // they stand in the order of their names
	}
	slices.SortStableFunc(g.choice, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(scores[b].mine, scores[a].mine),
			cmp.Compare(scores[b].theirs, scores[a].theirs),
		)
	})
}

func always(int) bool { return true }

// score is how much the job likes a slot, and the slot the job.
type score struct{ mine, theirs float64 }

// ranking is the Rank of an ad, which most often is a constant.
type ranking struct {
	ad       *classad.Ad
	constant bool
	value    float64
}

func newRanking(ad *classad.Ad) ranking {
	e, ok := ad.Lookup(classad.AttrRank)
	if !ok {
		return ranking{constant: true}
	}
	v, constant := e.Literal()
	value, _ := v.Real()
	return ranking{ad, constant, value}
}

func (r *ranking) of(target *classad.Ad) float64 {
	if r.constant {
		return r.value
	}
	return classad.Rank(r.ad, target)
}

// needs gives what a job requires of a slot, nil for nothing at all, and what its checkpoint does, nil
// for nothing in particular.
func needs(ad *classad.Ad) (requirements, checkpoint *classad.Expr) {
	requirements, _ = ad.Lookup(classad.AttrRequirements)
	if n, _ := ad.Int(attrNumCkpts); n > 0 {
		checkpoint, _ = ad.Lookup(AttrCheckpointRequirements)
	}
	return requirements, checkpoint
}
