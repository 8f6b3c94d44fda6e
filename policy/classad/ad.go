package classad

import "unique"

// An Ad is a list of named expressions. Names keep the spelling and the order in which they were
// first set; their case does not matter. An ad may be chained to a parent, whose attributes it then
// has too unless it has its own of the same name.
//
// The zero Ad is empty and ready for use. Copy one with [Ad.Clone]: a plain copy shares what it holds.
type Ad struct {
	attrs  []attr
	index  map[atom]int // position in attrs; nil while there are few
	parent *Ad
}

type attr struct {
	name string
	key  atom
	expr *Expr
}

// An atom is a name in lower case; two atoms are equal exactly if the names are.
type atom = unique.Handle[string]

func atomOf(name string) atom { return unique.Make(lower(name)) }

// indexFrom is the number of attributes from which a map finds one faster than looking at each.
const indexFrom = 9

// NewAd makes an empty ad.
func NewAd() *Ad { return &Ad{} }

// Set gives the attribute name the expression e. A nil e deletes it.
func (a *Ad) Set(name string, e *Expr) {
	if e == nil {
		a.Delete(name)
		return
	}
	if e.root == nil {
		e = &Expr{root: undefinedNode}
	}
	a.set(name, atomOf(name), e)
}

// SetInt, SetReal, SetString and SetBool give an attribute a plain value.
func (a *Ad) SetInt(name string, i int64) { a.Set(name, literalExpr(intValue(i))) }

// SetReal sets a real; see [Ad.SetInt].
func (a *Ad) SetReal(name string, f float64) { a.Set(name, literalExpr(realValue(f))) }

// SetString sets a string; see [Ad.SetInt].
func (a *Ad) SetString(name, s string) { a.Set(name, literalExpr(stringValue(s))) }

// SetBool sets a boolean; see [Ad.SetInt].
func (a *Ad) SetBool(name string, b bool) { a.Set(name, literalExpr(boolValue(b))) }

func (a *Ad) set(name string, key atom, e *Expr) {
	if i := a.position(key); i >= 0 {
		a.attrs[i].expr = e
		return
	}
	a.attrs = append(a.attrs, attr{name, key, e})
	switch {
	case a.index != nil:
		a.index[key] = len(a.attrs) - 1
	case len(a.attrs) >= indexFrom:
		a.reindex()
	}
}

func (a *Ad) reindex() {
	a.index = nil
	if len(a.attrs) < indexFrom {
		return
	}
	a.index = make(map[atom]int, len(a.attrs))
	for i := range a.attrs {
		a.index[a.attrs[i].key] = i
	}
}

func (a *Ad) position(key atom) int {
	if a.index != nil {
		if i, ok := a.index[key]; ok {
			return i
		}
		return -1
	}
	for i := range a.attrs {
		if a.attrs[i].key == key {
			return i
		}
	}
	return -1
}

// Delete removes an attribute. If the chained parent has it, the ad is given undefined in its place,
// so that it is gone here while the parent stays as it is.
func (a *Ad) Delete(name string) {
	key := atomOf(name)
	if i := a.position(key); i >= 0 {
		a.attrs = append(a.attrs[:i], a.attrs[i+1:]...)
		a.reindex()
	}
	if a.parent != nil && a.parent.find(key) != nil {
		a.set(name, key, literalExpr(undefinedValue))
	}
}

// Lookup returns the expression of an attribute, of the chained parent's if the ad has none.
func (a *Ad) Lookup(name string) (*Expr, bool) {
	e := a.find(atomOf(name))
	return e, e != nil
}

func (a *Ad) find(key atom) *Expr {
	for ; a != nil; a = a.parent {
		if i := a.position(key); i >= 0 {
			return a.attrs[i].expr
		}
	}
	return nil
}

// Names returns the ad's own attribute names in the order they were set, not the parent's.
func (a *Ad) Names() []string {
	names := make([]string, len(a.attrs))
	for i := range a.attrs {
		names[i] = a.attrs[i].name
	}
	return names
}

// Len is the number of the ad's own attributes.
func (a *Ad) Len() int { return len(a.attrs) }

// Clone copies the ad, chained to the same parent. Expressions are shared, for they never change.
func (a *Ad) Clone() *Ad {
	c := &Ad{attrs: append([]attr(nil), a.attrs...), parent: a.parent}
	c.reindex()
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
	a.parent = p
}

// Flat returns an unchained copy that has the parent's attributes too, the parent's first.
func (a *Ad) Flat() *Ad {
	if a.parent == nil {
		return a.Clone()
	}
	f := a.parent.Flat()
	for i := range a.attrs {
		f.set(a.attrs[i].name, a.attrs[i].key, a.attrs[i].expr)
	}
	return f
}

// Eval evaluates an attribute against target, which may be nil. A missing attribute is undefined.
func (a *Ad) Eval(name string, target *Ad) Value {
	if e, ok := a.Lookup(name); ok {
		return run(e.root, a, target)
	}
	return undefinedValue
}

// Int evaluates an attribute without a target as [Value.Int] does.
func (a *Ad) Int(name string) (int64, bool) { return a.Eval(name, nil).Int() }

// Real evaluates an attribute without a target as [Value.Real] does.
func (a *Ad) Real(name string) (float64, bool) { return a.Eval(name, nil).Real() }

// Str evaluates an attribute without a target as [Value.Str] does.
func (a *Ad) Str(name string) (string, bool) { return a.Eval(name, nil).Str() }

// Bool evaluates an attribute without a target as [Value.Bool] does.
func (a *Ad) Bool(name string) (b, ok bool) { return a.Eval(name, nil).Bool() }
