package classad

import (
	"slices"
	"sync/atomic"
	"unsafe"
)

// An Ad is a list of named expressions. Names keep the spelling and the order in which they were
// first set; their case does not matter. An ad may be chained to a parent, whose attributes it then
// has too unless it has its own of the same name.
//
// The zero Ad is empty and ready for use. Copy one with [Ad.Clone]: a plain copy shares what it holds.
type Ad struct {
	shape   *shape  // nil while there are no attributes
	slots   []Value // where shape says; an expression is of kind unevaluated
	parent  *Ad
	changed uint64 // grows with each change, of any ad; 0: never

	// prepared is what [Match] has found out about the ad, a *preparation. It is read and written
	// atomically, but the type is not atomic.Pointer, for ads may be copied.
	prepared unsafe.Pointer
}

// NewAd makes an empty ad.
func NewAd() *Ad { return &Ad{} }

// Set gives the attribute name the expression e. A nil e deletes it.
func (a *Ad) Set(name string, e *Expr) {
	if e == nil {
		a.Delete(name)
		return
	}
	a.set(spelledName(name), slotOf(e))
}

// SetInt, SetReal, SetString and SetBool give an attribute a plain value.
func (a *Ad) SetInt(name string, i int64) { a.set(spelledName(name), intValue(i)) }

// SetReal sets a real; see [Ad.SetInt].
func (a *Ad) SetReal(name string, f float64) { a.set(spelledName(name), realValue(f)) }

// SetString sets a string; see [Ad.SetInt].
func (a *Ad) SetString(name, s string) { a.set(spelledName(name), stringValue(s)) }

// SetBool sets a boolean; see [Ad.SetInt].
func (a *Ad) SetBool(name string, b bool) { a.set(spelledName(name), boolValue(b)) }

func (a *Ad) set(name *spelled, slot Value) {
	a.touch()
	if i := a.shape.slot(name.key); i >= 0 {
		a.slots[i] = slot
		return
	}
	if a.shape == nil || a.shape.shared {
		a.rebuild(a, nil)
	}
	a.shape.add(name)
	a.slots = append(a.slots, slot)
}

// rebuild gives a a shape of its own and the attributes of from, but for the one to be left out.
func (a *Ad) rebuild(from *Ad, leaveOut *spelled) {
	s, slots := &shape{}, make([]Value, 0, len(from.slots)+1)
	for i := range from.slots {
		if name := from.shape.names[i]; leaveOut == nil || name.key != leaveOut.key {
			s.add(name)
			slots = append(slots, from.slots[from.shape.slotAt(i)])
		}
	}
	a.shape, a.slots = s, slots
}

// changes counts the changes of all ads. That the latest one of an ad and those it is chained to is
// still the same shows that none of them has changed, and that they are the same ads.
var changes atomic.Uint64

func (a *Ad) touch() {
	a.changed = changes.Add(1)
	atomic.StorePointer(&a.prepared, nil)
}

// latest is the latest change of a and those it is chained to.
func (a *Ad) latest() uint64 {
	n := uint64(0)
	for ; a != nil; a = a.parent {
		n = max(n, a.changed)
	}
	return n
}

// newAd makes an ad of names and slots in the same order, and keeps neither. Of a name that comes
// twice the last slot counts.
func newAd(names []*spelled, slots []Value) *Ad {
	if len(names) == 0 {
		return NewAd()
	}
	if s := shapeOf(names); s != nil {
		ad := &Ad{shape: s, slots: make([]Value, len(slots))}
		for i, v := range slots {
			ad.slots[s.slots[i]] = v
		}
		return ad
	}
	ad := NewAd()
	for i, name := range names {
		ad.set(name, slots[i])
	}
	return ad
}

// Delete removes an attribute. If the chained parent has it, the ad is given undefined in its place,
// so that it is gone here while the parent stays as it is.
func (a *Ad) Delete(name string) {
	n := spelledName(name)
	if a.shape.slot(n.key) >= 0 {
		a.touch()
		a.rebuild(a, n)
	}
	if _, ok := a.parent.find(n.key); ok {
		a.set(n, undefinedValue)
	}
}

// Lookup returns the expression of an attribute, of the chained parent's if the ad has none.
func (a *Ad) Lookup(name string) (*Expr, bool) {
	slot, ok := a.find(atomOf(name))
	if !ok {
		return nil, false
	}
	return slot.expr(), true
}

// find returns the slot of an attribute of a or of those it is chained to.
func (a *Ad) find(key atom) (slot Value, ok bool) {
	for ; a != nil; a = a.parent {
		if i := a.shape.slot(key); i >= 0 {
			return a.slots[i], true
		}
	}
	return Value{}, false
}

func (a *Ad) has(key atom) bool {
	_, ok := a.find(key)
	return ok
}

// isOdd reports whether an attribute has a name that means something in the language.
func (a *Ad) isOdd() bool {
	for ; a != nil; a = a.parent {
		if a.shape != nil && a.shape.odd {
			return true
		}
	}
	return false
}

// Names returns the ad's own attribute names in the order they were set, not the parent's.
func (a *Ad) Names() []string {
	names := make([]string, a.Len())
	for i := range names {
		names[i] = a.shape.names[i].name
	}
	return names
}

// Len is the number of the ad's own attributes.
func (a *Ad) Len() int { return len(a.slots) }

// all yields the ad's own attributes in order.
func (a *Ad) all(yield func(name string, e *Expr) bool) {
	for i := range a.slots {
		if !yield(a.shape.names[i].name, a.slots[a.shape.slotAt(i)].expr()) {
			return
		}
	}
}

// Clone copies the ad, chained to the same parent. Expressions are shared, for they never change.
func (a *Ad) Clone() *Ad {
	c := &Ad{slots: slices.Clone(a.slots), parent: a.parent, shape: a.shape}
	if c.shape != nil && !c.shape.shared {
		c.rebuild(a, nil)
	}
	return c
}

// SetParent chains the ad to p, as a job's ad is chained to its cluster's; nil ends it. It does
// nothing if that would make an ad its own ancestor.
func (a *Ad) SetParent(p *Ad) {
	for q := p; q != nil; q = q.parent {
		if q == a {
			return
		}
	}
	a.touch()
	a.parent = p
}

// Flat returns an unchained copy that has the parent's attributes too, the parent's first.
func (a *Ad) Flat() *Ad {
	if a.parent == nil {
		return a.Clone()
	}
	f := a.parent.Flat()
	for i := range a.slots {
		f.set(a.shape.names[i], a.slots[a.shape.slotAt(i)])
	}
	return f
}

// Eval evaluates an attribute against target, which may be nil. A missing attribute is undefined.
func (a *Ad) Eval(name string, target *Ad) Value {
	slot, _ := a.find(atomOf(name))
	if slot.kind != unevaluated {
		return slot
	}
	return run(slot.expr().root, a, target)
}

// Int evaluates an attribute without a target as [Value.Int] does.
func (a *Ad) Int(name string) (int64, bool) { return a.Eval(name, nil).Int() }

// Real evaluates an attribute without a target as [Value.Real] does.
func (a *Ad) Real(name string) (float64, bool) { return a.Eval(name, nil).Real() }

// Str evaluates an attribute without a target as [Value.Str] does.
func (a *Ad) Str(name string) (string, bool) { return a.Eval(name, nil).Str() }

// Bool evaluates an attribute without a target as [Value.Bool] does.
func (a *Ad) Bool(name string) (b, ok bool) { return a.Eval(name, nil).Bool() }
