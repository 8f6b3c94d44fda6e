package negotiate

import (
	"cmp"
	"slices"
	"strings"

	"skua/internal/fit"
	"skua/internal/why"
	"skua/policy/classad"
)

// analysis is what each part of a job's requirements says of each slot.
type analysis struct {
	c          *cycle
	ad         *classad.Ad
	clauses    []clause      // of its Requirements, and what slots ask of every job
	checkpoint *classad.Expr // what the job's checkpoint needs, nil for nothing
}

// clause is one part, and where it is true.
type clause struct {
	expr     *classad.Expr
	text     string
	implicit bool   // what slots ask of every job, and the job's Requirements do not say
	holds    []bool // by slot
	size     *sizing
}

// sizing is a clause that wants at least so much of something.
type sizing struct {
	attr    string  // the slot's attribute
	asked   float64 // more than it has
	request string  // the job's attribute that says how much, "" if the clause does
	strict  bool    // more than asked, not as much
}

// resources are what slots compare with what a job requests, see policy.SlotAd.
var resources = []why.Resource{why.Cpus, why.Memory, why.Disk}

const attrWithinLimits = "WithinResourceLimits"

func (c *cycle) analyse(ad *classad.Ad) *analysis {
	a := &analysis{c: c, ad: ad}
	_, a.checkpoint = needs(ad)
	requirements, _ := ad.Lookup(classad.AttrRequirements)
	spoken := map[string]bool{}
	for _, e := range requirements.Conjuncts() {
		cl := clause{expr: e, text: e.String(), size: sizingOf(e, ad)}
		if cl.size != nil && cl.size.request != "" {
			spoken[strings.ToLower(cl.size.attr)] = true
		}
		a.clauses = append(a.clauses, cl)
	}
	for _, r := range resources {
		asked, ok := ad.Real("Request" + string(r))
		if !ok || asked <= 0 || spoken[strings.ToLower(string(r))] {
			continue
		}
		text := "TARGET." + string(r) + " >= Request" + string(r)
		if e, err := classad.ParseExpr(text); err == nil {
			a.clauses = append(a.clauses, clause{expr: e, text: text, implicit: true, size: sizingOf(e, ad)})
		}
	}
	for k := range a.clauses {
		cl := &a.clauses[k]
		cl.holds = make([]bool, len(c.slots))
		holds := c.index.test(cl.expr.Flatten(ad), ad)
		for i := range c.slots {
			cl.holds[i] = holds(i) || cl.implicit && cl.expr.Eval(ad, c.slots[i].Ad).Kind() == classad.Undefined
		}
	}
	return a
}

// sizingOf takes apart a clause such as TARGET.Memory >= RequestMemory; nil for another.
func sizingOf(e *classad.Expr, ad *classad.Ad) *sizing {
	flat, ok := e.Flatten(ad).Comparison()
	if !ok || !flat.Target || flat.Op != ">=" && flat.Op != ">" {
		return nil
	}
	asked, ok := flat.Value.Real()
	if !ok || flat.Value.Kind() == classad.Boolean {
		return nil
	}
	s := &sizing{attr: flat.Attr, asked: asked, strict: flat.Op == ">"}
	if _, plain := e.Comparison(); plain {
		return s
	}
	var own []string
	for _, name := range e.References().My {
		if _, ok := ad.Lookup(name); ok {
			own = append(own, name)
		}
	}
	if len(own) != 1 {
		return nil
	}
	if n, ok := ad.Real(own[0]); !ok || n != asked { // 2 * RequestMemory
		return nil
	}
	s.request = own[0]
	return s
}

// void finds an attribute in clause k that the job has and that has no value on any slot, such as RequestMemory = lots.
func (a *analysis) void(k int) *why.Void {
	for _, name := range a.clauses[k].expr.References().My {
		e, ok := a.ad.Lookup(name)
		if !ok {
			continue
		}
		valued := func(s Slot) bool { return e.Eval(a.ad, s.Ad).Kind() != classad.Undefined }
		if e.Eval(a.ad, nil).Kind() != classad.Undefined || slices.ContainsFunc(a.c.slots, valued) {
			continue
		}
		such := "VALUE"
		switch strings.ToLower(name) {
		case "requestmemory", "requestdisk":
			such = "2GB"
		case "requestcpus":
			such = "1"
		}
		return &why.Void{Attr: name, Text: e.String(), For: such}
	}
	return nil
}

// resource is what the sizing is about.
func (s *sizing) resource() why.Resource {
	for _, r := range resources {
		if strings.EqualFold(s.attr, string(r)) {
			return r
		}
	}
	return why.Resource(s.attr)
}

// countMachines counts the machines with a slot for which f is true.
func (c *cycle) countMachines(f func(slot int) bool) int {
	n, last := 0, -1
	for i := range c.slots { // slots of a machine stand together
		if c.machine[i] != last && f(i) {
			n++
			last = c.machine[i]
		}
	}
	return n
}

// othersHold reports whether a slot meets all clauses but those given, and fits the checkpoint.
func (a *analysis) othersHold(slot int, but ...int) bool {
	for k := range a.clauses {
		if !a.clauses[k].holds[slot] && !slices.Contains(but, k) {
			return false
		}
	}
	return a.checkpoint == nil || a.checkpoint.Eval(a.ad, a.c.slots[slot].Ad).IsTrue()
}

// report gives the clauses for people.
func (a *analysis) report() []why.Clause {
	var all []why.Clause
	for k := range a.clauses {
		cl := &a.clauses[k]
		r := why.Clause{
			Text: cl.text, Implicit: cl.implicit,
			Meet:  a.c.countMachines(func(i int) bool { return cl.holds[i] }),
			Alone: a.c.machinesBarred(func(i int) bool { return cl.holds[i] }, func(i int) bool { return a.othersHold(i, k) }),
		}
		if cl.implicit && r.Meet == a.c.machines {
			continue
		}
		if s := cl.size; s != nil && r.Meet < a.c.machines {
			if s.request != "" {
				r.Asked = s.resource().Amount(s.asked)
			}
			if most, ok := a.largest(k); ok {
				r.Offers = s.resource().Amount(most)
			}
		}
		all = append(all, r)
	}
	if a.checkpoint == nil {
		return all
	}
	for _, e := range a.checkpoint.Conjuncts() {
		r := why.Clause{
			Text: e.String(), Checkpoint: true,
			Meet: a.c.countMachines(func(i int) bool { return e.Eval(a.ad, a.c.slots[i].Ad).IsTrue() }),
		}
		if r.Meet == a.c.machines && strings.Contains(r.Text, "TARGET."+fit.AttrFile) {
			continue // there are dozens of files, and this is the same one everywhere
		}
		all = append(all, r)
	}
	return all
}

// machinesBarred counts the machines of which some slot meets the others and no such slot meets the clause.
func (c *cycle) machinesBarred(holds, others func(slot int) bool) int {
	barred := make([]bool, c.machines)
	open := make([]bool, c.machines)
	for i := range c.slots {
		if others(i) {
			barred[c.machine[i]] = true
			open[c.machine[i]] = open[c.machine[i]] || holds(i)
		}
	}
	n := 0
	for m := range barred {
		if barred[m] && !open[m] {
			n++
		}
	}
	return n
}

// largest is the most that a slot offers of what clause k wants, of those that meet all others.
func (a *analysis) largest(k int) (most float64, ok bool) {
	for i := range a.c.slots {
		if a.othersHold(i, k) {
			if n, isNumber := a.c.slots[i].Ad.Real(a.clauses[k].size.attr); isNumber {
				most, ok = max(most, n), true
			}
		}
	}
	return most, ok
}

// largestAtAll is what largest is, or the most that any slot offers if none meets all others.
func (a *analysis) largestAtAll(k int) float64 {
	most, ok := a.largest(k)
	if ok {
		return most
	}
	for i := range a.c.slots {
		if n, ok := a.c.slots[i].Ad.Real(a.clauses[k].size.attr); ok {
			most = max(most, n)
		}
	}
	return most
}

// worst gives the clause that no machine meets and that says most; -1 if there is none. Without it the
// number of machines would match.
func (a *analysis) worst() (k, without int) {
	k = -1
	for i := range a.clauses {
		cl := &a.clauses[i]
		if slices.Contains(cl.holds, true) {
			continue
		}
		var n int
		if cl.size != nil {
			n = a.try(a.relax(i)) // dropping it would not do: machines know their own size
		} else {
			n = a.try(why.Edit{Drop: cl.text})
		}
		if k < 0 || n > without {
			k, without = i, n
		}
	}
	return k, without
}

// short describes a shortage of what clause k wants.
func (a *analysis) short(k int) *why.Shortage {
	s := a.clauses[k].size
	if s == nil {
		return nil
	}
	out := &why.Shortage{What: s.resource(), Asked: s.asked}
	out.Too = a.c.countMachines(func(i int) bool {
		n, ok := a.c.slots[i].Ad.Real(s.attr)
		return ok && (n < s.asked || s.strict && n == s.asked)
	})
	if out.Too == 0 {
		return nil // no machine says how much it has
	}
	out.Suit = a.c.countMachines(func(i int) bool { return a.othersHold(i, k) })
	out.Largest = a.largestAtAll(k)
	if e := a.relax(k); e.To > 0 {
		if n := a.try(e); n > 0 {
			out.Try, out.Matches = e.To, n
		}
	}
	return out
}

// refusals looks into START on the slots that suit the job and take it not.
func (a *analysis) refusals(g *group) []why.Refusal {
	type machine struct{ clause, machine string }
	seen := map[machine]bool{}
	at := map[string]int{}
	var all []why.Refusal
	for i := range a.c.slots {
		if v := a.c.verdict(g, i); v != unwanted && v != owned && v != busy {
			continue
		}
		s := &a.c.slots[i]
		start, _ := s.Ad.Lookup(attrStart)
		for _, cl := range start.Conjuncts() {
			if cl.Eval(s.Ad, a.ad).IsTrue() {
				continue
			}
			text := cl.OldString()
			if seen[machine{text, s.Machine}] {
				continue
			}
			seen[machine{text, s.Machine}] = true
			k, ok := at[text]
			if !ok {
				k = len(all)
				at[text] = k
				all = append(all, why.Refusal{Clause: text, Such: s.Machine})
			}
			all[k].Machines++
		}
	}
	slices.SortStableFunc(all, func(x, y why.Refusal) int { return cmp.Compare(y.Machines, x.Machines) })
	const most = 8
	return all[:min(len(all), most)]
}
