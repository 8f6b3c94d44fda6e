package negotiate

import (
	"slices"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/why"
	"skua/policy/classad"
)

const attrDeferralTime = "DeferralTime"

// Why says why a job of the snapshot was not matched. It is nil for one that was, and for one that is
// not in the snapshot. What is asked twice is worked out once, so that it must not be called from
// several goroutines at a time.
func (p *Plan) Why(id job.ID) *why.Waiting {
	if st := p.cycle.streamOf(id); st != nil {
		return p.cycle.why(st)
	}
	return nil
}

// streamOf gives the stream that a job still waits in.
func (c *cycle) streamOf(id job.ID) *stream {
	for _, st := range c.streams[id.Cluster] {
		if st.has(id) {
			return st
		}
	}
	return nil
}

// why sums up the verdicts on a stream's jobs.
func (c *cycle) why(st *stream) *why.Waiting {
	g := st.group
	if g.why == nil {
		g.why = c.sumUp(g)
	}
	w := g.why
	if !st.batch.NotBefore.After(c.snapshot.Now) {
		return w
	}
	later := *w
	if at, ok := g.sample.Int(attrDeferralTime); ok && at > later.At {
		later.Deferred = at // it may be offered a little ahead of that
	} else {
		later.Again = st.batch.NotBefore.Unix()
	}
	return &later
}

func (c *cycle) sumUp(g *group) *why.Waiting {
	c.judge(g)
	w := &why.Waiting{At: c.snapshot.Now.Unix(), Machines: c.machines}
	best := make([]verdict, c.machines)
	for i := range g.verdicts {
		v := c.verdict(g, i)
		switch {
		case v == closed:
			if at := c.shutting(i).opensAt; at > 0 && (w.OpensAt == 0 || at < w.OpensAt) {
				w.OpensAt = at
			}
		case v == paused:
			if at := c.shutting(i).paused; w.PausedUntil == 0 || at < w.PausedUntil {
				w.PausedUntil = at
			}
		case v == busy:
			if b := c.shutting(i).busy; w.Busy == nil || b.Load < w.Busy.Load {
				w.Busy = &why.Busy{Load: b.Load, Allowed: b.Allowed}
			}
		case v == crowded:
			if r, _ := c.parting(i).lacks(c.slots[i].Name, g); w.Room == nil || closer(r, *w.Room) {
				w.Room = &r
			}
		case v == unable && w.Reason == "":
			w.Reason, _ = c.slots[i].Ad.Str(attrCannotRun)
		case v == matching && w.Limit == nil:
			if l, full := c.limits.full(c.wanted(g, i)); full {
				w.Limit = &why.Limit{Name: l.Name, Cap: l.Cap, Used: l.Used, Full: true}
			}
		}
		best[c.machine[i]] = max(best[c.machine[i]], v)
	}
	for _, v := range best {
		*countOf(w, v)++
		switch {
		case v == paused:
			w.Paused++
		case v == busy:
			w.Busy.Machines++
		}
	}
	if w.Paused == 0 {
		w.PausedUntil = 0
	}
	if w.Busy != nil && w.Busy.Machines == 0 {
		w.Busy = nil
	}
	if w.Closed == 0 {
		w.OpensAt = 0
	}
	switch {
	case w.Machines == 0:
	case w.Unsuited == w.Machines:
		c.unmet(g, w)
	case w.Stuck():
		_, checkpoint := needs(g.sample)
		w.Clause = c.unmetClause(checkpoint, g.sample)
	}
	if w.Unfit > 0 {
		w.Misfits = c.misfits(g, best)
	}
	return w
}

// verdict is the group's on a slot as things are at the end of the cycle, and with the reason for which
// a slot is its owner's looked into.
func (c *cycle) verdict(g *group, slot int) verdict {
	v := g.verdicts[slot]
	switch {
	case c.parting(slot) != nil && (v == unsuited || v == claimed || v == matching && !c.open(g, slot)):
		v = c.beside(g, slot, v)
	case v == matching && !c.open(g, slot):
		return claimed
	}
	if v == owned || v == unwanted {
		switch s := c.shutting(slot); {
		case s.unable:
			return unable
		case s.paused > 0:
			return paused
		case s.closed:
			return closed
		case s.busy != nil:
			return busy
		}
	}
	return v
}

func countOf(w *why.Waiting, v verdict) *int {
	switch v {
	case unsuited:
		return &w.Unsuited
	case unfit:
		return &w.Unfit
	case unable:
		return &w.Unable
	case unwanted:
		return &w.Unwanted
	case closed:
		return &w.Closed
	case owned, paused, busy:
		return &w.Owner
	case claimed:
		return &w.Claimed
	case crowded:
		return &w.Crowded
	case resting:
		return &w.Resting
	}
	return &w.Free
}

// unmet looks for the clause of the Requirements that no machine meets.
func (c *cycle) unmet(g *group, w *why.Waiting) {
	a := c.entire().analyse(g.sample)
	k, without := a.worst()
	if k < 0 {
		return
	}
	w.Clause, w.Short = a.clauses[k].text, a.short(k)
	if w.Short == nil {
		if w.Void = a.void(k); w.Void != nil {
			return // to drop the clause is no remedy
		}
		w.Without = without
		w.Missing, w.Meant = c.misspelt(w.Clause, g.sample)
	}
}

// misspelt finds a name in a clause that no slot has as an attribute, and one of theirs that is almost called so.
func (c *cycle) misspelt(clause string, ad *classad.Ad) (missing, meant string) {
	e, err := classad.ParseExpr(clause)
	if err != nil {
		return "", ""
	}
	for _, name := range e.ReferencesIn(ad).Target {
		has := func(s Slot) bool { _, ok := s.Ad.Lookup(name); return ok }
		if slices.ContainsFunc(c.slots, has) {
			continue
		}
		if meant := diag.Misspelt(name, c.slots[0].Ad.Names()); meant != "" {
			return name, meant
		}
	}
	return "", ""
}

// unmetClause gives the first clause that no slot meets.
func (c *cycle) unmetClause(e *classad.Expr, ad *classad.Ad) string {
	for _, clause := range e.Conjuncts() {
		if !slices.ContainsFunc(c.slots, func(s Slot) bool { return clause.Eval(ad, s.Ad).IsTrue() }) {
			return clause.String()
		}
	}
	return ""
}
