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
	top   *scope // the outermost ad around a nested one
	other *scope // of an outermost ad: the one it is being matched with
	right bool   // of an outermost ad: it is the target, not my
}

func (sc *scope) outermost() *scope {
	if sc.top != nil {
		return sc.top
	}
	return sc
}

// An evaluator is one evaluation in progress: what it may still spend, and its two outermost scopes.
type evaluator struct {
	steps int // left; negative once the evaluation is abandoned
	depth int // of nested nodes
	refs  int // of attributes on the way

	regexpTime time.Duration // spent in the backtracking engine

	stack      []Value // of the arguments of the functions on the way
	my, target scope
}

// evaluators are used again as long as no value keeps one of their scopes.
var evaluators = sync.Pool{New: func() any {
	const usual = 16 // arguments and elements at a time
	ev := &evaluator{stack: make([]Value, 0, usual)}
	ev.target.other, ev.target.right = &ev.my, true
	return ev
}}

// begin makes an evaluator for an ad and its target, which may be nil. Whoever calls it calls end.
func begin(my, target *Ad) *evaluator {
	if my == nil {
		my = emptyAd
	}
	ev := evaluators.Get().(*evaluator)
	ev.steps, ev.depth, ev.refs, ev.regexpTime = maxSteps, 0, 0, 0
	if len(ev.stack) > 0 { // left over when the last evaluation was abandoned
		clear(ev.stack)
		ev.stack = ev.stack[:0]
	}
	ev.my.ad, ev.target.ad = my, target
	ev.my.other = nil
	if target != nil {
		ev.my.other = &ev.target
	}
	return ev
}

// end gives the evaluator back, of which nothing but v is used any more.
func (ev *evaluator) end(v Value) {
	if v.kind != List && v.kind != AdKind {
		ev.my.ad, ev.target.ad = nil, nil
		evaluators.Put(ev)
	}
}

var emptyAd = NewAd()

// Eval evaluates e in the ad my against target. Either may be nil.
func (e *Expr) Eval(my, target *Ad) Value { return run(e.tree(), my, target) }

func run(n node, my, target *Ad) Value {
	v, _ := try(n, my, target)
	return v
}

// try is run, and tells whether the evaluation was not abandoned.
func try(n node, my, target *Ad) (v Value, ok bool) {
	if v, ok := constantOf(n); ok {
		return v, true
	}
	ev := begin(my, target)
	v = ev.eval(n, &ev.my)
	ok = !ev.failed()
	ev.end(v)
	return v, ok
}

// fail abandons the evaluation. That is more than an error value, which isError and =?= can see:
// nothing can turn it into something else.
func (ev *evaluator) fail() Value {
	ev.steps = math.MinInt / 2
	return errorValue
}

func (ev *evaluator) failed() bool { return ev.steps < 0 }

// spend pays for n bytes or elements of work, and reports false if that is too much.
func (ev *evaluator) spend(n int) bool {
	if ev.steps -= n / 16; ev.steps < 0 {
		ev.fail()
	}
	return ev.steps >= 0
}

// eval evaluates n, keeping the limits.
func (ev *evaluator) eval(n node, sc *scope) Value {
	switch n := n.(type) {
	case *literal:
		return n.v
	case *constant:
		return n.v
	}
	ev.steps--
	if ev.steps < 0 || ev.depth >= maxStackDepth {
		return ev.fail()
	}
	ev.depth++
	v := n.eval(ev, sc)
	ev.depth--
	if ev.steps < 0 {
		return ev.fail()
	}
	return v
}

func (n *literal) eval(*evaluator, *scope) Value { return n.v }

func (n *paren) eval(ev *evaluator, sc *scope) Value { return ev.eval(n.x, sc) }

func (n *listNode) eval(_ *evaluator, sc *scope) Value { return listValue(n.elems, sc) }

func (n *adNode) eval(_ *evaluator, sc *scope) Value {
	return adValue(&scope{ad: n.ad, up: sc, top: sc.outermost()})
}

func (n *call) eval(ev *evaluator, sc *scope) Value {
	if n.fn == nil {
		return errorValue
	}
	return n.fn.eval(ev, sc, n.args)
}

func (n *attrRef) eval(ev *evaluator, sc *scope) Value {
	switch n.form {
	case bareName:
		if slot, ok := sc.ad.find(n.key); ok { // what follows would find it too
			return ev.follow(slot, sc)
		}
		v, found := n.find(ev, sc)
		if !found && sc.other != nil {
			v, _ = n.find(ev, sc.other)
		}
		return v
	case ofRoot:
		top := sc.outermost()
		if top.other != nil {
			return n.around(top) // the root is the pair of ads, which has none of their attributes
		}
		return n.lookup(ev, top)
	case ofMy, ofTarget:
		if s := n.side(sc); s != nil {
			return n.lookup(ev, s)
		}
	}
	return n.selectFrom(ev, ev.eval(n.base, sc))
}

// side is the ad that MY or TARGET before the dot means; nil if an attribute has that name, or if
// there is no target.
func (n *attrRef) side(sc *scope) *scope {
	if n.form == ofMy {
		if sc.ad.isOdd() && sc.ad.has(n.base.(*attrRef).key) {
			return nil
		}
		return sc
	}
	for s := sc; ; s = s.up {
		if s.ad.isOdd() && s.ad.has(n.base.(*attrRef).key) {
			return nil
		}
		if s.up == nil {
			return s.other
		}
	}
}

// selectFrom evaluates base.name.
func (n *attrRef) selectFrom(ev *evaluator, base Value) Value {
	switch base.kind {
	case Undefined:
		return undefinedValue
	case AdKind:
		return n.lookup(ev, base.body().sc)
	case List:
		bottom := len(ev.stack)
		vals := ev.elements(base)
		for i, v := range vals {
			vals[i] = n.selectFrom(ev, v)
		}
		list := ev.list(vals)
		ev.release(bottom)
		return list
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
		if slot, ok := s.ad.find(n.key); ok {
			return ev.follow(slot, s), true
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
		ev.steps-- // ads can be nested deeply
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
		return findFrom(base.body().sc, n.key)
	}
	if n.form == ofRoot {
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
		if slot, ok := sc.ad.find(key); ok {
			return slot.expr(), sc
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

// follow evaluates the slot of an attribute.
func (ev *evaluator) follow(slot Value, sc *scope) Value {
	if slot.kind != unevaluated {
		return slot
	}
	if ev.refs >= maxReferences {
		return ev.fail()
	}
	ev.refs++
	v := ev.eval(slot.expr().root, sc)
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
		if k := i.int(); 0 <= k && k < int64(len(x.body().elems)) {
			return ev.eval(x.body().elems[k], x.body().sc)
		}
	case x.kind == AdKind && i.kind == String:
		slot, _ := x.body().sc.ad.find(atomOf(i.text()))
		return ev.follow(slot, x.body().sc)
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
