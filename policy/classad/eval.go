package classad

import (
	"math"
	"sync"
	"time"
)

// A scope is an ad in whose light names are read.
type scope struct {
	ad    *Ad
	up    *scope // the ad around a nested one
	other *scope // of an outermost ad: the one it is being matched with
	right bool   // of an outermost ad: it is the target, not my
}

func (sc *scope) outermost() *scope {
	for sc.up != nil {
		sc = sc.up
	}
	return sc
}

// An evaluator is one evaluation in progress: what it may still spend, and its two outermost scopes.
type evaluator struct {
	steps  int // left
	depth  int // of nested nodes
	refs   int // of attributes on the way
	failed bool

	my, target scope
}

// evaluators are used again as long as no value keeps one of their scopes.
var evaluators = sync.Pool{New: func() any { return new(evaluator) }}

var emptyAd = NewAd()

// Eval evaluates e in the ad my against target. Either may be nil.
func (e *Expr) Eval(my, target *Ad) Value { return run(e.root, my, target) }

func run(n node, my, target *Ad) Value {
	v, _ := try(n, my, target)
	return v
}

// try is run, and tells whether the evaluation was abandoned.
func try(n node, my, target *Ad) (v Value, ok bool) {
	if lit, ok := n.(*literal); ok {
		return lit.v, true
	}
	if my == nil {
		my = emptyAd
	}
	ev := evaluators.Get().(*evaluator)
	*ev = evaluator{steps: maxSteps, my: scope{ad: my}}
	if target != nil {
		ev.target = scope{ad: target, other: &ev.my, right: true}
		ev.my.other = &ev.target
	}
	v = ev.eval(n, &ev.my)
	ok = !ev.failed
	if !ok {
		v = errorValue
	}
	if v.ref == nil {
		evaluators.Put(ev)
	}
	return v, ok
}

// runIn evaluates an element of a list or ad that an earlier evaluation gave.
func runIn(n node, sc *scope) Value {
	if sc == nil {
		return run(n, nil, nil)
	}
	ev := &evaluator{steps: maxSteps}
	v := ev.eval(n, sc)
	if ev.failed {
		return errorValue
	}
	return v
}

// fail abandons the evaluation. That is more than an error value, which isError and =?= can see:
// nothing can turn it into something else.
func (ev *evaluator) fail() Value {
	ev.failed = true
	return errorValue
}

// spend pays for n bytes or elements of work, and reports false if that is too much.
func (ev *evaluator) spend(n int) bool {
	ev.steps -= n / 16
	if ev.steps < 0 {
		ev.failed = true
	}
	return !ev.failed
}

// eval evaluates n, keeping the limits.
func (ev *evaluator) eval(n node, sc *scope) Value {
	if lit, ok := n.(*literal); ok {
		return lit.v
	}
	ev.steps--
	if ev.failed || ev.steps < 0 || ev.depth >= maxStackDepth {
		return ev.fail()
	}
	ev.depth++
	v := n.eval(ev, sc)
	ev.depth--
	if ev.failed {
		return errorValue
	}
	return v
}

func (n *literal) eval(*evaluator, *scope) Value { return n.v }

func (n *paren) eval(ev *evaluator, sc *scope) Value { return ev.eval(n.x, sc) }

func (n *listNode) eval(_ *evaluator, sc *scope) Value { return listValue(n.elems, sc) }

func (n *adNode) eval(_ *evaluator, sc *scope) Value { return adValue(&scope{ad: n.ad, up: sc}) }

func (n *call) eval(ev *evaluator, sc *scope) Value {
	if n.fn == nil {
		return errorValue
	}
	return n.fn.eval(ev, sc, n.args)
}

func (n *attrRef) eval(ev *evaluator, sc *scope) Value {
	switch {
	case n.base != nil:
		return n.selectFrom(ev, ev.eval(n.base, sc))
	case n.absolute:
		top := sc.outermost()
		if top.other != nil {
			return n.around(top) // the root is the pair of ads, which has none of their attributes
		}
		return n.lookup(ev, top)
	}
	v, found := n.find(ev, sc)
	if !found && sc.other != nil {
		v, _ = n.find(ev, sc.other)
	}
	return v
}

// selectFrom evaluates base.name.
func (n *attrRef) selectFrom(ev *evaluator, base Value) Value {
	switch base.kind {
	case Undefined:
		return undefinedValue
	case AdKind:
		return n.lookup(ev, base.ref.sc)
	case List:
		vals := ev.elements(base)
		for i, v := range vals {
			vals[i] = n.selectFrom(ev, v)
		}
		return ev.list(vals)
	}
	return errorValue
}

func (n *attrRef) lookup(ev *evaluator, sc *scope) Value {
	v, _ := n.find(ev, sc)
	return v
}

// find evaluates the attribute in the innermost ad from sc outwards that has it.
func (n *attrRef) find(ev *evaluator, sc *scope) (v Value, found bool) {
	for s := sc; ; s = s.up {
		if e := s.ad.find(n.key); e != nil {
			return ev.follow(e.root, s), true
		}
		switch n.special {
		case specialMy:
			return adValue(s), true
		case specialParent:
			if s.up == nil {
				return undefinedValue, true
			}
			return adValue(s.up), true
		case specialRoot:
			return adValue(s.outermost()), true
		case specialTime:
			return intValue(time.Now().Unix()), true
		}
		if s.up == nil {
			if n.special == ordinary {
				return undefinedValue, false
			}
			v = n.around(s)
			return v, v.kind != Undefined
		}
	}
}

// expression returns the attribute's expression, unevaluated, and where it stands; nil if there is
// none.
func (n *attrRef) expression(ev *evaluator, sc *scope) (*Expr, *scope) {
	if n.base != nil {
		base := ev.eval(n.base, sc)
		if base.kind != AdKind {
			return nil, nil
		}
		return findFrom(base.ref.sc, n.key)
	}
	if n.absolute {
		return findFrom(sc.outermost(), n.key)
	}
	e, at := findFrom(sc, n.key)
	if e == nil && sc.other != nil {
		e, at = findFrom(sc.other, n.key)
	}
	return e, at
}

func findFrom(sc *scope, key atom) (*Expr, *scope) {
	for ; sc != nil; sc = sc.up {
		if e := sc.ad.find(key); e != nil {
			return e, sc
		}
	}
	return nil, nil
}

// around gives the names that the pair of matched ads defines around each of them.
func (n *attrRef) around(top *scope) Value {
	if top.other == nil {
		return undefinedValue
	}
	switch n.special {
	case specialTarget:
		return adValue(top.other)
	case specialLeft, specialRight:
		if top.right != (n.special == specialRight) {
			top = top.other
		}
		return adValue(top)
	}
	return undefinedValue
}

// follow evaluates the expression of an attribute.
func (ev *evaluator) follow(n node, sc *scope) Value {
	if lit, ok := n.(*literal); ok {
		return lit.v
	}
	if ev.refs >= maxReferences {
		return ev.fail()
	}
	ev.refs++
	v := ev.eval(n, sc)
	ev.refs--
	return v
}

func (n *subscript) eval(ev *evaluator, sc *scope) Value {
	x, i := ev.eval(n.x, sc), ev.eval(n.index, sc)
	switch {
	case x.kind == Error || i.kind == Error:
		return errorValue
	case x.kind == Undefined || i.kind == Undefined:
		return undefinedValue
	case x.kind == List && i.kind == Integer:
		if k := i.int(); 0 <= k && k < int64(len(x.ref.elems)) {
			return ev.eval(x.ref.elems[k], x.ref.sc)
		}
	case x.kind == AdKind && i.kind == String:
		if e := x.ref.sc.ad.find(atomOf(i.str)); e != nil {
			return ev.follow(e.root, x.ref.sc)
		}
		return undefinedValue
	}
	return errorValue
}

func (n *ternary) eval(ev *evaluator, sc *scope) Value {
	c := ev.eval(n.cond, sc)
	if n.yes == nil {
		if c.kind != Undefined {
			return c
		}
		return ev.eval(n.no, sc)
	}
	if c.kind == Undefined {
		return undefinedValue
	}
	b, ok := c.Bool()
	switch {
	case !ok:
		return errorValue
	case b:
		return ev.eval(n.yes, sc)
	}
	return ev.eval(n.no, sc)
}

func (n *unary) eval(ev *evaluator, sc *scope) Value {
	x := ev.eval(n.x, sc)
	if x.kind <= Error {
		return x
	}
	switch n.op {
	case opNot:
		if b, ok := x.Bool(); ok {
			return boolValue(!b)
		}
	case opCompl:
		if x.kind == Integer {
			return intValue(^x.int())
		}
	case opAdd:
		if x.kind == Integer || x.kind == Real || x.kind == RelTime {
			return x
		}
	case opSub:
		switch x.kind {
		case Integer:
			return intValue(-x.int())
		case Real:
			return realValue(-x.float())
		case RelTime:
			return relValue(-x.float())
		}
	}
	return errorValue
}

func (n *binary) eval(ev *evaluator, sc *scope) Value {
	if n.op == opAnd || n.op == opOr {
		return n.logic(ev, sc)
	}
	x, y := ev.eval(n.x, sc), ev.eval(n.y, sc)
	if x.kind == String && y.kind == String {
		ev.spend(min(len(x.str), len(y.str)))
	}
	if n.op == opIs || n.op == opIsnt {
		return identical(x, y, n.op == opIs)
	}
	return operate(n.op, x, y)
}

// logic is three-valued: what is not known does not matter if the other side decides.
func (n *binary) logic(ev *evaluator, sc *scope) Value {
	decisive := n.op == opOr // the value of either side that settles the matter
	x := ev.eval(n.x, sc)
	b, ok := x.Bool()
	if ok && b == decisive {
		return boolValue(b)
	}
	if !ok && x.kind != Undefined {
		return errorValue
	}
	y := ev.eval(n.y, sc)
	c, ok := y.Bool()
	switch {
	case ok && c == decisive:
		return boolValue(c)
	case !ok && y.kind != Undefined:
		return errorValue
	case x.kind == Undefined || y.kind == Undefined:
		return undefinedValue
	}
	return boolValue(!decisive)
}

// operate applies the strict binary operators, those that need both sides.
func operate(o op, x, y Value) Value {
	switch {
	case x.kind == Error || y.kind == Error:
		return errorValue
	case x.kind == Undefined || y.kind == Undefined:
		return undefinedValue
	case o >= opEq && o <= opGe:
		return compare(o, x, y)
	case o >= opAdd && o <= opMod:
		return arithmetic(o, x, y)
	}
	return bitwise(o, x, y)
}

func bitwise(o op, x, y Value) Value {
	if x.kind != Integer || y.kind != Integer {
		return errorValue
	}
	a, b := x.int(), y.int()
	switch o {
	case opBitOr:
		return intValue(a | b)
	case opBitXor:
		return intValue(a ^ b)
	case opBitAnd:
		return intValue(a & b)
	case opShl: // distances count modulo 64, as the processor takes them
		return intValue(a << (b & 63))
	case opShr:
		return intValue(a >> (b & 63))
	case opUshr:
		if a >= 0 {
			return intValue(a >> (b & 63))
		}
		// The sign is masked out after an arithmetic shift; for a distance of 0 that takes all bits.
		return intValue((a >> (b & 63)) &^ (math.MinInt64 >> ((b - 1) & 63)))
	}
	return errorValue
}

func arithmetic(o op, x, y Value) Value {
	if x.kind >= AbsTime || y.kind >= AbsTime {
		return timeArithmetic(o, x, y)
	}
	if !x.isNumber() || !y.isNumber() {
		return errorValue
	}
	if x.kind == Real || y.kind == Real {
		return realArithmetic(o, x.number(), y.number())
	}
	a, b := x.int(), y.int()
	switch o {
	case opAdd:
		return intValue(a + b)
	case opSub:
		return intValue(a - b)
	case opMul:
		return intValue(a * b)
	case opDiv:
		if b == 0 {
			return errorValue
		}
		if a == math.MinInt64 && b == -1 {
			return intValue(math.MaxInt64)
		}
		return intValue(a / b)
	case opMod:
		if b == 0 {
			return errorValue
		}
		return intValue(a % b)
	}
	return errorValue
}

func realArithmetic(o op, a, b float64) Value {
	var r float64
	switch o {
	case opAdd:
		r = a + b
	case opSub:
		r = a - b
	case opMul:
		r = a * b
	case opDiv:
		r = a / b
	default:
		return errorValue
	}
	if math.IsInf(r, 1) { // only beyond the upper end; minus infinity passes
		return errorValue
	}
	return realValue(r)
}

// compare orders numbers and times by size, strings without regard to case.
func compare(o op, x, y Value) Value {
	var less, equal bool
	switch {
	case x.kind == String && y.kind == String:
		c := compareFold(x.str, y.str)
		less, equal = c < 0, c == 0
	case x.isNumber() && y.isNumber():
		if x.kind == Real || y.kind == Real {
			a, b := x.number(), y.number()
			if a != a || b != b {
				return boolValue(o == opNe)
			}
			less, equal = a < b, a == b
		} else {
			less, equal = x.int() < y.int(), x.int() == y.int()
		}
	case x.kind == AbsTime && y.kind == AbsTime:
		less, equal = x.int() < y.int(), x.int() == y.int()
	case x.kind == RelTime && y.kind == RelTime:
		less, equal = x.float() < y.float(), x.float() == y.float()
	default:
		return errorValue
	}
	switch o {
	case opEq:
		return boolValue(equal)
	case opNe:
		return boolValue(!equal)
	case opLt:
		return boolValue(less)
	case opLe:
		return boolValue(less || equal)
	case opGt:
		return boolValue(!less && !equal)
	case opGe:
		return boolValue(!less)
	}
	return errorValue
}

// identical is =?= or, if want is false, =!=: the same kind and the same value, and never undefined.
// Lists and ads cannot be compared with their like.
func identical(x, y Value, want bool) Value {
	if x.kind != y.kind {
		return boolValue(!want)
	}
	switch x.kind {
	case List, AdKind:
		return errorValue
	case Real, RelTime:
		return boolValue((x.float() == y.float()) == want)
	case String:
		return boolValue((x.str == y.str) == want)
	}
	return boolValue((x.bits == y.bits && x.off == y.off) == want)
}
