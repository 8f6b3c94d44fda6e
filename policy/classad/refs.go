package classad

// Refs are the attributes that an expression reads, each once, as first spelled, in order of
// appearance. Names that belong to the language, such as MY, are not among them.
type Refs struct {
	My     []string // MY.x, and bare names, which are looked for here first
	Target []string // TARGET.x
}

// References returns the attributes that e itself reads on each side. What a bare name means depends
// on the ads: it counts as My although it is read from the target when my does not have it.
// [Expr.ReferencesIn] knows the ad.
func (e *Expr) References() Refs {
	c := refCollector{seen: map[refKey]bool{}}
	return c.collect(e.tree())
}

// ReferencesIn returns the attributes that e can read on each side when it is evaluated in my: bare
// names that my does not have are the target's, and the attributes of my that e reads count with
// what they read in turn.
func (e *Expr) ReferencesIn(my *Ad) Refs {
	if my == nil {
		my = emptyAd
	}
	c := refCollector{seen: map[refKey]bool{}, my: my}
	return c.collect(e.tree())
}

type side uint8

const (
	sideMy side = iota
	sideTarget
)

type refKey struct {
	key  atom
	side side
}

type refCollector struct {
	my   *Ad // nil: do not follow
	seen map[refKey]bool
	bare map[atom]bool // names of refs.Target that were read without TARGET
	refs Refs
	todo []node // expressions of my that are still to be walked
}

func (c *refCollector) collect(n node) Refs {
	c.todo = append(c.todo, n)
	for len(c.todo) > 0 {
		n := c.todo[0]
		c.todo = c.todo[1:]
		c.walk(n, nil, sideMy)
	}
	return c.refs
}

// walk collects from n, which stands within the nested ads around.
func (c *refCollector) walk(n node, around []*Ad, s side) {
	switch n := asWritten(n).(type) {
	case *paren:
		c.walk(n.x, around, s)
	case *unary:
		c.walk(n.x, around, s)
	case *binary:
		c.walk(n.x, around, s)
		c.walk(n.y, around, s)
	case *ternary:
		c.walk(n.cond, around, s)
		if n.yes != nil {
			c.walk(n.yes, around, s)
		}
		c.walk(n.no, around, s)
	case *subscript:
		if base, ok := n.x.(*attrRef); ok && base.base == nil && c.sideOf(base, s) >= 0 {
			if lit, ok := n.index.(*literal); ok && lit.v.kind == String {
				c.add(lit.v.text(), atomOf(lit.v.text()), side(c.sideOf(base, s)))
				return
			}
		}
		c.walk(n.x, around, s)
		c.walk(n.index, around, s)
	case *call:
		for _, a := range n.args {
			c.walk(a, around, s)
		}
	case *listNode:
		for _, e := range n.elems {
			c.walk(e, around, s)
		}
	case *adNode:
		around = append(around[:len(around):len(around)], n.ad)
		for _, e := range n.ad.all {
			c.walk(e.root, around, s)
		}
	case *attrRef:
		c.ref(n, around, s)
	}
}

// sideOf tells which side MY, TARGET and their like name, seen from s; -1 if base is none of them.
func (c *refCollector) sideOf(base *attrRef, s side) int {
	switch base.special {
	case specialMy:
		return int(s)
	case specialTarget:
		return int(s ^ 1)
	case specialLeft:
		return int(sideMy)
	case specialRight:
		return int(sideTarget)
	}
	return -1
}

func (c *refCollector) ref(n *attrRef, around []*Ad, s side) {
	if n.base == nil {
		if n.special != ordinary {
			return
		}
		for _, ad := range around {
			if ad.has(n.key) {
				return
			}
		}
		if c.my != nil && !c.my.has(n.key) {
			s = sideTarget
			if c.bare == nil {
				c.bare = map[atom]bool{}
			}
			c.bare[n.key] = true
		}
		c.add(n.name, n.key, s)
		return
	}
	if base, ok := n.base.(*attrRef); ok && base.base == nil {
		if at := c.sideOf(base, s); at >= 0 {
			// MY within a nested ad is that ad, if it has the name.
			for _, ad := range around {
				if base.special == specialMy && ad.has(n.key) {
					return
				}
			}
			c.add(n.name, n.key, side(at))
			return
		}
	}
	c.walk(n.base, around, s)
}

func (c *refCollector) add(name string, key atom, s side) {
	k := refKey{key, s}
	if c.seen[k] {
		return
	}
	c.seen[k] = true
	if s == sideTarget {
		c.refs.Target = append(c.refs.Target, name)
		return
	}
	c.refs.My = append(c.refs.My, name)
	if slot, ok := c.my.find(key); ok && slot.kind == unevaluated {
		c.todo = append(c.todo, slot.expr().root)
	}
}

// Conjuncts splits e at its top-level && operators, through parentheses. All of them are true
// exactly if e is.
func (e *Expr) Conjuncts() []*Expr {
	var out []*Expr
	var split func(n node)
	split = func(n node) {
		for {
			p, ok := n.(*paren)
			if !ok {
				break
			}
			n = p.x
		}
		if b, ok := asWritten(n).(*binary); ok && b.op == opAnd {
			split(b.x)
			split(b.y)
			return
		}
		out = append(out, &Expr{root: n})
	}
	split(e.tree())
	return out
}
