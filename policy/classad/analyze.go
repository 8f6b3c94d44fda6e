package classad

// A Comparison is an expression of the form attribute operator constant, or the other way around,
// which an index of ads by that attribute can answer.
type Comparison struct {
	Target bool   // the attribute is TARGET's; else it is MY's, or a bare name
	Attr   string // as spelled
	Op     string // ==, !=, <, <=, >, >=, =?= or =!=, with the attribute on the left
	Value  Value  // a boolean, number, string or time, undefined or error
}

// Comparison takes e apart if it is a simple comparison. Together with [Expr.Flatten] and
// [Expr.Conjuncts] it tells what an index can answer of a job's Requirements:
//
//	for _, c := range requirements.Flatten(job).Conjuncts() {
//		if cmp, ok := c.Comparison(); ok && cmp.Target { ... }
//	}
//
// An index must know that == and the orders ignore the case of strings, that they are undefined
// for an ad without the attribute, and that such an attribute may itself be an expression.
func (e *Expr) Comparison() (Comparison, bool) {
	n := e.tree()
	for {
		p, ok := n.(*paren)
		if !ok {
			break
		}
		n = p.x
	}
	c, ok := n.(*comparison)
	if !ok || c.ref.special != ordinary || c.c.kind == List || c.c.kind == AdKind {
		return Comparison{}, false
	}
	switch c.ref.form {
	case bareName, ofMy, ofTarget:
		return Comparison{c.ref.form == ofTarget, c.ref.name, operators[c.op].old, c.c}, true
	}
	return Comparison{}, false
}
