package classad

import "slices"

// Flatten returns what remains of e once all that my alone decides is known: attributes of my are
// replaced by their values or, where those depend on more, by their expressions, bare names that my
// does not have become TARGET's, and what is constant is computed. Given a job's Requirements and the
// job, it is what remains to be asked of a machine.
//
// Evaluated in my against any target, the result has the value of e, unless the limits of an
// evaluation come in between. Calls of functions that look at their arguments unevaluated, lists,
// nested ads, and attributes that lead in a circle stay as they are, and so does all of e if my has an
// attribute with a name such as MY. The time and random numbers are not computed in advance.
func (e *Expr) Flatten(my *Ad) *Expr {
	if my == nil {
		my = emptyAd
	}
	if my.isOdd() {
		return e
	}
	f := flattener{my: my, left: maxFlattened}
	return &Expr{root: unwrap(f.flat(e.tree()))}
}

// maxFlattened is the number of vertices that are looked at; beyond, attributes stay as they are.
// maxInlined is the depth of attributes that lead to attributes.
const (
	maxFlattened = 2000
	maxInlined   = 30
)

type flattener struct {
	builder
	my     *Ad
	left   int
	inside []atom // the attributes whose expressions are being looked at
}

func (f *flattener) flat(n node) node {
	if f.left--; f.left < 0 {
		return n
	}
	if v, ok := constantOf(n); ok {
		return valueNode(n, v)
	}
	if c, ok := n.(*chain); ok {
		return f.logic(c)
	}
	switch n := asWritten(n).(type) {
	case *paren:
		return f.paren(n.at, f.flat(n.x))
	case *attrRef:
		return f.ref(n)
	case *unary:
		return f.known(f.unary(n.at, n.op, f.flat(n.x)))
	case *binary:
		return f.known(f.binary(n.at, n.op, f.flat(n.x), f.flat(n.y)))
	case *ternary:
		return f.ternary(n)
	case *subscript:
		return f.known(f.subscript(n.at, f.flat(n.x), f.flat(n.index)))
	case *call:
		return f.call(n)
	}
	return n // a list too: functions that print one print its expressions
}

// valueNode is a vertex for the value of n. Lists, ads and relative times have no literals.
func valueNode(n node, v Value) node {
	if v.kind >= List && v.kind != AbsTime {
		return n
	}
	return &literal{v: v}
}

// known is n, or the literal that it turned out to be.
func (f *flattener) known(n node) node {
	if v, ok := constantOf(n); ok {
		return valueNode(n, v)
	}
	return n
}

func (f *flattener) each(nodes []node) []node {
	out := make([]node, len(nodes))
	for i, n := range nodes {
		out[i] = f.flat(n)
	}
	return out
}

func (f *flattener) paren(pos at, x node) node {
	switch asWritten(x).(type) {
	case *literal, *attrRef, *paren, *call, *listNode:
		return x
	}
	return f.known(f.builder.paren(pos, x))
}

func (f *flattener) ref(n *attrRef) node {
	switch {
	case n.special != ordinary:
		return n
	case n.form == ofValue:
		return f.known(newRef(n.position(), f.flat(n.base), false, n.name))
	case n.form != bareName && n.form != ofMy:
		return n
	}
	slot, ok := f.my.find(n.key)
	switch {
	case !ok && n.form == ofMy:
		return undefinedNode
	case !ok:
		return newRef(n.position(), newRef(n.position(), nil, false, "TARGET"), false, n.name)
	case slot.kind != unevaluated:
		return &literal{v: slot}
	case len(f.inside) >= maxInlined || slices.Contains(f.inside, n.key):
		return n
	}
	f.inside = append(f.inside, n.key)
	x := f.flat(slot.expr().root)
	f.inside = f.inside[:len(f.inside)-1]
	if f.left < 0 {
		return n
	}
	if _, isAd := asWritten(x).(*adNode); isAd {
		return n // PARENT and the like in it must see it where it stands
	}
	return f.paren(n.at, x)
}

// logic drops operands that do not matter.
func (f *flattener) logic(n *chain) node {
	decisive := n.op == opOr
	var terms []node
	for _, t := range n.terms {
		t = f.flat(t)
		v, isConstant := constantOf(t)
		b, isBool := v.Bool()
		if isConstant && isBool && b != decisive {
			continue
		}
		terms = append(terms, t)
		if isConstant && v.kind != Undefined {
			break // what comes after it is never evaluated
		}
	}
	switch {
	case len(terms) == 0:
		return &literal{v: boolValue(!decisive)}
	case len(terms) == 1:
		v, isConstant := constantOf(terms[0])
		b, isBool := v.Bool()
		switch {
		case isConstant && isBool:
			return &literal{v: boolValue(b)}
		case isConstant && v.kind != Undefined:
			return &literal{v: errorValue}
		case isLogical(terms[0]):
			return terms[0]
		}
		// It becomes a boolean only by the operator.
		terms = []node{&literal{v: boolValue(!decisive)}, terms[0]}
	}
	return joined(n.at, n.op, terms)
}

// isLogical reports whether n can be nothing but a boolean, undefined or error.
func isLogical(n node) bool {
	switch n := asWritten(n).(type) {
	case *literal:
		return n.v.kind <= Boolean
	case *paren:
		return isLogical(n.x)
	case *binary:
		return opEq <= n.op && n.op <= opGe || n.op == opAnd || n.op == opOr
	case *unary:
		return n.op == opNot
	}
	return false
}

func (f *flattener) ternary(n *ternary) node {
	cond := f.flat(n.cond)
	if v, ok := constantOf(cond); ok {
		b, isBool := v.Bool()
		switch {
		case n.yes == nil && v.kind != Undefined:
			return cond
		case n.yes == nil:
			return f.paren(n.at, f.flat(n.no))
		case v.kind == Undefined:
			return undefinedNode
		case !isBool:
			return &literal{v: errorValue}
		case b:
			return f.paren(n.at, f.flat(n.yes))
		}
		return f.paren(n.at, f.flat(n.no))
	}
	var yes node
	if n.yes != nil {
		yes = f.flat(n.yes)
	}
	if isDefined(cond, yes) {
		cond, yes = yes, nil
	}
	return f.known(f.builder.ternary(n.at, cond, yes, f.flat(n.no)))
}

// isDefined reports whether cond asks whether the attribute x is defined, so that cond ? x : y
// is x ?: y.
func isDefined(cond, x node) bool {
	c, ok := cond.(*comparison)
	ref, isRef := x.(*attrRef)
	return ok && isRef && c.op == opIsnt && c.c.kind == Undefined &&
		c.ref.key == ref.key && c.ref.form == ref.form && ref.base != nil && ref.form == ofTarget
}

func (f *flattener) call(n *call) node {
	if n.fn != nil && n.fn.check != nil {
		return n // what is no literal in the source must not look like one
	}
	if n.fn != nil && n.fn.lazy != nil {
		if n.fn.name == "ifThenElse" && len(n.args) == 3 {
			return f.paren(n.at, f.ternary(&ternary{n.at, n.args[0], n.args[1], n.args[2]}))
		}
		return n
	}
	return f.known(f.builder.call(n.at, n.name, f.each(n.args)))
}
