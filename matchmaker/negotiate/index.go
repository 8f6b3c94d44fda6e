package negotiate

import (
	"math"
	"slices"
	"strings"

	"skua/policy/classad"
)

// index answers what jobs and slots require of each other without evaluating it for each pair.
//
// A clause of a job's Requirements, flattened, reads some attributes of the slot. Slots in which these have the
// same values give it the same answer, so that it is evaluated once for each of the values; and a
// comparison with a number needs no evaluation. The other way around, what is left of a slot's
// Requirements when they are flattened is a few clauses about the job, which are the same on many slots.
// Whatever does not fit this pattern is evaluated.
type index struct {
	slots   []Slot
	numbers map[string][]float64 // by attribute and slot; NaN where it is no plain number
	values  map[string][]int32   // by attributes and slot: equal for equal values; -1 where they are no constants
	kinds   map[string]int32     // how many different ones there are
	asks    [][]int32            // by slot: what it asks of jobs, as places in wants
	wants   []want

	partitionable []int // slots
}

// want is a clause that slots have about jobs.
type want struct {
	expr  *classad.Expr
	reads []string // of the job
}

func newIndex(slots []Slot, memo *Memo) *index {
	x := &index{
		slots: slots, numbers: map[string][]float64{}, values: map[string][]int32{}, kinds: map[string]int32{},
		asks: make([][]int32, len(slots)),
	}
	shared := map[string]int32{}
	for i := range slots {
		r := memo.slots.of(slots[i].Ad, readSlot)
		if r.partitionable {
			x.partitionable = append(x.partitionable, i)
		}
		for _, cl := range r.clauses {
			if n, ok := shared[cl.text]; ok && !cl.own {
				x.asks[i] = append(x.asks[i], n)
				continue
			}
			n := int32(len(x.wants))
			x.wants = append(x.wants, want{cl.expr, cl.reads})
			x.asks[i] = append(x.asks[i], n)
			if !cl.own {
				shared[cl.text] = n
			}
		}
	}
	return x
}

// slotClause is what a slot asks of jobs: a conjunct of its flattened Requirements.
type slotClause struct {
	expr  *classad.Expr
	text  string
	own   bool     // it reads the slot, too
	reads []string // of the job
}

// slotClauses leaves out what is always true.
func slotClauses(slot *classad.Ad) []slotClause {
	e, _ := slot.Lookup(classad.AttrRequirements)
	var all []slotClause
	for _, cl := range e.Flatten(slot).Conjuncts() {
		if v, constant := cl.Literal(); constant && v.IsTrue() {
			continue
		}
		text := cl.String()
		refs := cl.ReferencesIn(slot)
		all = append(all, slotClause{cl, text, len(refs.My) > 0 || evaluates(text), refs.Target})
	}
	return all
}

// accepted returns a function that tells whether a slot's Requirements hold for a job.
func (x *index) accepted(ad *classad.Ad) func(slot int) bool {
	known := make([]answer, len(x.wants))
	looks := map[string]bool{} // attributes of the job that look at the slot
	return func(slot int) bool {
		for _, n := range x.asks[slot] {
			a := known[n]
			if a == unknown || a == varies {
				w := &x.wants[n]
				a = answerOf(w.expr.Eval(x.slots[slot].Ad, ad).IsTrue())
				if known[n] == unknown {
					known[n] = a
					if slices.ContainsFunc(w.reads, func(attr string) bool { return looksBack(ad, attr, looks) }) {
						known[n] = varies
					}
				}
			}
			if a == no {
				return false
			}
		}
		return true
	}
}

// looksBack reports whether the value of a job's attribute depends on the slot that asks.
func looksBack(ad *classad.Ad, attr string, known map[string]bool) bool {
	if looks, ok := known[attr]; ok {
		return looks
	}
	looks := false
	if e, ok := ad.Lookup(attr); ok {
		if _, constant := e.Literal(); !constant {
			looks = len(e.ReferencesIn(ad).Target) > 0 || evaluates(e.String())
		}
	}
	known[attr] = looks
	return looks
}

// required returns a function that tells whether an expression of a job is true of a slot.
func (x *index) required(e *classad.Expr, ad *classad.Ad) func(slot int) bool {
	var tests []func(slot int) bool
	for _, cl := range e.Flatten(ad).Conjuncts() {
		if v, constant := cl.Literal(); constant && v.IsTrue() {
			continue
		}
		tests = append(tests, x.test(cl, ad))
	}
	return func(slot int) bool {
		for _, test := range tests {
			if !test(slot) {
				return false
			}
		}
		return true
	}
}

func (x *index) test(cl *classad.Expr, ad *classad.Ad) func(slot int) bool {
	evaluate := func(slot int) bool { return cl.Eval(ad, x.slots[slot].Ad).IsTrue() }
	refs := cl.ReferencesIn(ad)
	if len(refs.My) > 0 || len(refs.Target) == 0 || evaluates(cl.String()) {
		return evaluate
	}
	if c, ok := cl.Comparison(); ok {
		if compare := comparing(c); compare != nil {
			column := x.numbersOf(c.Attr)
			return func(slot int) bool {
				if n := column[slot]; n == n {
					return compare(n)
				}
				return evaluate(slot)
			}
		}
	}
	column, kinds := x.valuesOf(refs.Target)
	known := make([]answer, kinds)
	return func(slot int) bool {
		k := column[slot]
		if k < 0 {
			return evaluate(slot)
		}
		if known[k] == unknown {
			known[k] = answerOf(evaluate(slot))
		}
		return known[k] == yes
	}
}

type answer int8

const (
	unknown answer = iota
	no
	yes
	varies // from slot to slot
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// exact is the bound up to which whole numbers are exact as floating-point ones.
const exact = 1 << 53

// plain gives a constant number that can be compared as a floating-point one.
func plain(v classad.Value) (float64, bool) {
	if k := v.Kind(); k != classad.Integer && k != classad.Real {
		return 0, false
	}
	f, _ := v.Real()
	return f, math.Abs(f) < exact
}

// comparing gives the function for a comparison with a number, nil for another.
func comparing(c classad.Comparison) func(float64) bool {
	n, ok := plain(c.Value)
	if !ok || !c.Target {
		return nil
	}
	switch c.Op {
	case "==":
		return func(f float64) bool { return f == n }
	case "!=":
		return func(f float64) bool { return f != n }
	case "<":
		return func(f float64) bool { return f < n }
	case "<=":
		return func(f float64) bool { return f <= n }
	case ">":
		return func(f float64) bool { return f > n }
	case ">=":
		return func(f float64) bool { return f >= n }
	}
	return nil // =?= and =!= tell 1 from 1.0
}

func (x *index) numbersOf(attr string) []float64 {
	attr = strings.ToLower(attr)
	column, ok := x.numbers[attr]
	if ok {
		return column
	}
	column = make([]float64, len(x.slots))
	for i := range x.slots {
		column[i] = math.NaN()
		if e, ok := x.slots[i].Ad.Lookup(attr); ok {
			if v, constant := e.Literal(); constant {
				if f, ok := plain(v); ok {
					column[i] = f
				}
			}
		}
	}
	x.numbers[attr] = column
	return column
}

func (x *index) valuesOf(attrs []string) ([]int32, int32) {
	names := make([]string, len(attrs))
	for i, a := range attrs {
		names[i] = strings.ToLower(a)
	}
	slices.Sort(names)
	key := strings.Join(names, " ")
	if column, ok := x.values[key]; ok {
		return column, x.kinds[key]
	}
	column := make([]int32, len(x.slots))
	ids := map[string]int32{}
	var text strings.Builder
	for i := range x.slots {
		text.Reset()
		for _, name := range names {
			if e, ok := x.slots[i].Ad.Lookup(name); ok {
				v, constant := e.Literal()
				if !constant {
					column[i] = -1
					break
				}
				text.WriteString(v.String())
			}
			text.WriteByte(0)
		}
		if column[i] < 0 {
			continue
		}
		id, ok := ids[text.String()]
		if !ok {
			id = int32(len(ids))
			ids[text.String()] = id
		}
		column[i] = id
	}
	x.values[key], x.kinds[key] = column, int32(len(ids))
	return column, x.kinds[key]
}
