package classad

import (
	"slices"
	"sync/atomic"
	"unsafe"
)

// The attributes that matching reads.
const (
	AttrRequirements = "Requirements"
	AttrRank         = "Rank"
)

var keyRequirements = atomOf(AttrRequirements)

// Match reports whether a and b accept each other: the Requirements of each, evaluated against the
// other, are true. An ad without Requirements accepts nothing.
//
// What the Requirements of an ad ask of others is worked out once and kept with the ad until it
// changes, so that an ad that is matched with many is matched quickly.
func Match(a, b *Ad) bool {
	pa, pb := a.prepare(), b.prepare()
	return pa.accepts(a, b, pb) && pb.accepts(b, a, pa)
}

// Rank tells how much my likes target: the value of my's Rank, 0 if that is not a number.
func Rank(my, target *Ad) float64 {
	r, _ := my.Eval(AttrRank, target).Real()
	return r
}

// A preparation is the Requirements of an ad, flattened. They are true if all tests and all of the
// rest are. The tests of most machines stand in it, so that matching reads little memory.
type preparation struct {
	parent *Ad // that the ad was chained to
	tests  []test
	rest   node    // nil: there is none
	few    [4]test // where tests begin

	changed uint64 // the latest change of parent
	known   atomic.Pointer[[]knownSlot]
}

// A test compares an attribute of the target with a constant or with another attribute of the target.
type test struct {
	key   atom
	op    op   // opNone: the attribute itself must be true
	holds bool // if the attribute is undefined

	other atom // if set: the attribute to compare with; if that is undefined,
	c     Value
}

// prepare returns what is known of a, finding it out if need be. Two that do so at once find the same.
func (a *Ad) prepare() *preparation {
	p := (*preparation)(atomic.LoadPointer(&a.prepared))
	if p == nil || p.parent != a.parent || p.parent != nil && p.changed != p.parent.latest() {
		p = newPreparation(a)
		atomic.StorePointer(&a.prepared, unsafe.Pointer(p))
	}
	return p
}

func newPreparation(a *Ad) *preparation {
	p := &preparation{parent: a.parent, changed: a.parent.latest()}
	p.tests = p.few[:0]
	slot, _ := a.find(keyRequirements)
	e := slot.expr()
	var rest []node
	odd := a.isOdd()
	for _, c := range e.Flatten(a).Conjuncts() {
		v, isConstant := constantOf(c.root)
		switch {
		case isConstant && v.IsTrue():
			continue
		case isConstant:
			p.tests, p.rest = nil, c.root // never true; nothing else need be asked
			return p
		}
		if t, ok := testOf(c.root); ok && !odd {
			p.tests = append(p.tests, t)
		} else {
			rest = append(rest, c.root)
		}
	}
	switch len(rest) {
	case 0:
	case 1:
		p.rest = rest[0]
	default:
		p.rest = joined(0, opAnd, rest)
	}
	return p
}

// testOf makes a test of a conjunct if it can be one.
func testOf(n node) (t test, ok bool) {
	switch n := n.(type) {
	case *attrRef:
		return test{key: n.key}, askable(n)
	case *comparison:
		t = test{key: n.ref.key, op: n.op, c: n.c}
		t.holds = isTrue(relate(t.op, undefinedValue, t.c))
		return t, askable(n.ref)
	}
	b, isBinary := n.(*binary)
	if !isBinary || b.op < opEq || b.op > opGe {
		return t, false
	}
	x, y, o := unwrap(b.x), unwrap(b.y), b.op
	if _, isRef := y.(*attrRef); isRef {
		x, y, o = y, x, mirrored(o)
	}
	switch x := x.(type) {
	case *attrRef: // with an attribute that may have a default
		other, def, ok := withDefault(y)
		if !ok {
			break
		}
		t = test{key: x.key, op: o, other: other.key, c: def}
		return t, askable(x)
	case *ternary: // an attribute with a default, with a constant
		c, isConstant := constantOf(y)
		if ref, def, ok := withDefault(x); ok && isConstant {
			return test{key: ref.key, op: o, c: c, holds: isTrue(relate(o, def, c))}, true
		}
	}
	if c, isConstant := constantOf(x); isConstant {
		if ref, def, ok := withDefault(y); ok {
			return test{key: ref.key, op: mirrored(o), c: c, holds: isTrue(relate(o, c, def))}, true
		}
	}
	return t, false
}

// askable reports whether n is an attribute of the target that can be looked up by its name alone.
func askable(n *attrRef) bool { return n.form == ofTarget && n.special == ordinary }

// withDefault takes TARGET.x, or TARGET.x ?: constant, apart.
func withDefault(n node) (ref *attrRef, def Value, ok bool) {
	if t, isTernary := n.(*ternary); isTernary && t.yes == nil {
		if def, ok = constantOf(t.no); !ok {
			return nil, def, false
		}
		n = unwrap(t.cond)
	}
	ref, ok = n.(*attrRef)
	return ref, def, ok && askable(ref)
}

func unwrap(n node) node {
	for {
		p, ok := n.(*paren)
		if !ok {
			return n
		}
		n = p.x
	}
}

// accepts tells whether the Requirements of my, that p was made of, are true of target, that pt was
// made of.
func (p *preparation) accepts(my, target *Ad, pt *preparation) bool {
	for i := range p.tests {
		t := &p.tests[i]
		v, _ := target.find(t.key)
		if v.kind == unevaluated {
			var ok bool
			if v, ok = pt.value(target, t.key, v, my); !ok {
				return false
			}
		}
		if v.kind == Undefined && t.other == (atom{}) {
			if !t.holds {
				return false
			}
			continue
		}
		c := t.c
		if t.other != (atom{}) {
			other, _ := target.find(t.other)
			if other.kind == unevaluated {
				var ok bool
				if other, ok = pt.value(target, t.other, other, my); !ok {
					return false
				}
			}
			if other.kind != Undefined {
				c = other
			}
		}
		if t.op == opNone {
			if !v.IsTrue() {
				return false
			}
		} else if !isTrue(relate(t.op, v, c)) {
			return false
		}
	}
	return p.rest == nil || run(p.rest, my, target).IsTrue()
}

// A knownSlot is an attribute whose expression has been looked at: whether it has one value whoever
// is asking, as a RequestMemory that is computed from the job has, and which.
type knownSlot struct {
	key      atom
	constant bool
	v        Value
}

// maxKnown is how many attributes are looked at in that way.
const maxKnown = 16

// value evaluates the expression in a slot of a, that p was made of, for other. It reports false if
// the evaluation was abandoned.
func (p *preparation) value(a *Ad, key atom, slot Value, other *Ad) (v Value, ok bool) {
	var known []knownSlot
	if k := p.known.Load(); k != nil {
		known = *k
	}
	for i := range known {
		if k := &known[i]; k.key == key {
			if k.constant {
				return k.v, true
			}
			return try(slot.expr().root, a, other)
		}
	}
	if len(known) < maxKnown {
		k := knownSlot{key: key}
		k.v, k.constant = constantOf(slot.expr().Flatten(a).root)
		k.constant = k.constant && k.v.kind != List && k.v.kind != AdKind
		more := append(slices.Clip(known), k)
		p.known.Store(&more) // another's addition may be lost, and is then made again
	}
	return try(slot.expr().root, a, other)
}
