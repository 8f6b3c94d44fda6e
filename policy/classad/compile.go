package classad

// An expression is compiled as its tree is built: names are interned, functions and the sides of MY
// and TARGET resolved, what is constant is computed, chains of && and || become one vertex, and so
// does the comparison of an attribute with a constant. The faster vertices stand in front of those
// that they replace, which are kept for printing and analysis.
//
// builder makes the vertices. Its zero value compiles.
type builder struct {
	plain bool // do not: the tests compare the results
}

// faster is a vertex that evaluates as another one does.
type faster interface {
	node
	written() node
}

// asWritten returns the vertex that n stands for, as the source has it.
func asWritten(n node) node {
	if f, ok := n.(faster); ok {
		return f.written()
	}
	return n
}

// constant is an expression that always has the value v.
type constant struct {
	node
	v Value
}

func (n *constant) written() node                 { return asWritten(n.node) }
func (n *constant) eval(*evaluator, *scope) Value { return n.v }

func constantOf(n node) (Value, bool) {
	switch n := n.(type) {
	case *literal:
		return n.v, true
	case *constant:
		return n.v, true
	}
	return Value{}, false
}

// Bounds on what is computed in advance: it must not make a text expensive to parse, or its tree much
// larger than the text.
const (
	maxFoldSteps  = 1000
	maxFoldString = 256
)

// fold computes n if its operands, which are given, are constants.
func (b *builder) fold(n node, operands ...node) node {
	if b.plain {
		return n
	}
	for _, x := range operands {
		if _, ok := constantOf(x); !ok {
			return n
		}
	}
	ev := begin(nil, nil)
	ev.steps = maxFoldSteps
	v := ev.eval(n, &ev.my)
	failed := ev.failed()
	ev.end(v)
	if failed || v.kind == List || v.kind == AdKind || v.kind == String && v.bits > maxFoldString {
		return n
	}
	return &constant{n, v}
}

func (b *builder) paren(pos at, x node) node {
	n := &paren{pos, x}
	if v, ok := constantOf(x); ok && !b.plain {
		return &constant{n, v}
	}
	return n
}

func (b *builder) unary(pos at, o op, x node) node { return b.fold(&unary{pos, o, x}, x) }

func (b *builder) binary(pos at, o op, x, y node) node {
	n := &binary{pos, o, x, y}
	if b.plain {
		return n
	}
	if o == opAnd || o == opOr {
		return newChain(n)
	}
	if folded := b.fold(n, x, y); folded != node(n) {
		return folded
	}
	if opEq <= o && o <= opGe {
		if ref, ok := x.(*attrRef); ok {
			if c, ok := constantOf(y); ok {
				return &comparison{n, ref, o, c}
			}
		}
		if ref, ok := y.(*attrRef); ok {
			if c, ok := constantOf(x); ok {
				return &comparison{n, ref, mirrored(o), c}
			}
		}
	}
	return n
}

func (b *builder) ternary(pos at, cond, yes, no node) node {
	n := &ternary{pos, cond, yes, no}
	if yes == nil {
		return b.fold(n, cond, no)
	}
	return b.fold(n, cond, yes, no)
}

func (b *builder) subscript(pos at, x, index node) node {
	return b.fold(&subscript{pos, x, index}, x, index)
}

func (b *builder) call(pos at, name string, args []node) node {
	n := &call{at: pos, name: spelledName(name).name, fn: builtinNamed(name), args: args}
	switch {
	case n.fn == nil || b.plain:
	case n.fn.pure:
		return b.fold(n, args...)
	case n.fn.name == "ifThenElse" && len(args) == 3:
		return b.fold(&choice{n, ternary{pos, args[0], args[1], args[2]}}, args...)
	}
	return n
}

// choice is a call of ifThenElse.
type choice struct {
	*call
	ternary ternary
}

func (n *choice) written() node                       { return n.call }
func (n *choice) eval(ev *evaluator, sc *scope) Value { return n.ternary.eval(ev, sc) }

func (b *builder) list(pos at, elems []node) node {
	n := &listNode{pos, elems}
	if b.plain {
		return n
	}
	for _, e := range elems {
		if _, ok := constantOf(e); !ok {
			return n
		}
	}
	return &constant{n, listValue(elems, nil)}
}

// comparison compares an attribute with a constant.
type comparison struct {
	*binary
	ref *attrRef
	op  op // of ref with c, whichever of them is written first
	c   Value
}

func (n *comparison) written() node { return n.binary }

func (n *comparison) eval(ev *evaluator, sc *scope) Value {
	v := n.ref.eval(ev, sc)
	if v.kind == String && n.c.kind == String {
		ev.spend(int(min(v.bits, n.c.bits)))
	}
	return relate(n.op, v, n.c)
}

// relate applies one of the operators from opEq to opGe.
func relate(o op, x, y Value) Value {
	if o == opIs || o == opIsnt {
		return identical(x, y, o == opIs)
	}
	if x.kind == Integer && y.kind == Integer {
		a, b := x.int(), y.int()
		switch o {
		case opEq:
			return boolValue(a == b)
		case opNe:
			return boolValue(a != b)
		case opLt:
			return boolValue(a < b)
		case opLe:
			return boolValue(a <= b)
		case opGt:
			return boolValue(a > b)
		}
		return boolValue(a >= b)
	}
	return operate(o, x, y)
}

// mirrored is the relation of y to x if o is that of x to y.
func mirrored(o op) op {
	switch o {
	case opLt:
		return opGt
	case opLe:
		return opGe
	case opGt:
		return opLt
	case opGe:
		return opLe
	}
	return o
}

// chain is a sequence of operands with && or, all of them, || between them. The logic is associative,
// so that parentheses within it do not matter.
type chain struct {
	*binary
	terms []node
}

// newChain makes the chain that n is the last operator of. It takes over the operands of a chain at
// its left, which are not used any more.
func newChain(n *binary) *chain {
	terms := termsOf(n.x, n.op)
	if len(terms) == 0 {
		terms = append(terms, n.x)
	}
	if more := termsOf(n.y, n.op); 0 < len(more) && len(more) <= maxMerged {
		terms = append(terms, more...)
	} else {
		terms = append(terms, n.y)
	}
	return &chain{n, terms}
}

// maxMerged is how long a chain at the right may be to become part of the one around it. Without a
// bound, many parentheses within each other would take the square of their number.
const maxMerged = 16

// joined puts operators between two or more operands.
func joined(pos at, o op, terms []node) *chain {
	n := &binary{pos, o, terms[0], terms[1]}
	for _, t := range terms[2:] {
		n = &binary{pos, o, n, t}
	}
	return &chain{n, terms}
}

// termsOf returns the operands of n if that is a chain of o. While a text is parsed, longer chains
// grow in the same memory, so that a long one does not take the square of its length.
func termsOf(n node, o op) []node {
	for {
		p, ok := n.(*paren)
		if !ok {
			break
		}
		n = p.x
	}
	if c, ok := n.(*chain); ok && c.op == o {
		return c.terms
	}
	return nil
}

func (n *chain) written() node { return n.binary }

func (n *chain) eval(ev *evaluator, sc *scope) Value {
	decisive := n.op == opOr // the value of any operand that settles the matter
	unknown := false
	for _, t := range n.terms {
		x := ev.eval(t, sc)
		b, ok := x.Bool()
		switch {
		case ok && b == decisive:
			return boolValue(b)
		case !ok && x.kind != Undefined:
			return errorValue
		case !ok:
			unknown = true
		}
	}
	if unknown {
		return undefinedValue
	}
	return boolValue(!decisive)
}
