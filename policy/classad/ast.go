package classad

// An Expr is a parsed expression. It never changes and may be shared. The zero Expr, and a nil one, are
// the constant undefined.
type Expr struct {
	root node
}

var undefinedNode node = &literal{v: undefinedValue}

func (e *Expr) tree() node {
	if e == nil || e.root == nil {
		return undefinedNode
	}
	return e.root
}

// node is a vertex of the syntax tree. Children are evaluated through evaluator.eval, which keeps
// the limits.
type node interface {
	eval(ev *evaluator, sc *scope) Value
	print(p *printer)
	position() int // of its first byte in the source, or of the operator
}

type at int32

func (a at) position() int { return int(a) }

type literal struct {
	at
	v Value
}

// attrRef is name, .name or base.name.
type attrRef struct {
	at
	base    node // nil for a bare name
	form    form
	special special
	name    string // as spelled
	key     atom
}

// A form tells what stands before the name of an attribute.
type form uint8

const (
	bareName form = iota // nothing
	ofRoot               // a dot
	ofMy                 // MY, or a word for the same
	ofTarget             // TARGET
	ofValue              // any other expression
)

type paren struct {
	at
	x node
}

type unary struct {
	at
	op op
	x  node
}

type binary struct {
	at
	op   op
	x, y node
}

// ternary is cond ? yes : no, or, if yes is nil, cond ?: no.
type ternary struct {
	at
	cond, yes, no node
}

type subscript struct {
	at
	x, index node
}

type call struct {
	at
	name string
	fn   *builtin // nil: there is no such function, which is an error when it is called
	args []node
}

type listNode struct {
	at
	elems []node
}

type adNode struct {
	at
	ad *Ad
}

// special marks the names that mean something where no attribute has them.
type special uint8

const (
	ordinary special = iota
	specialMy
	specialParent
	specialRoot
	specialTarget
	specialLeft
	specialRight
	specialTime
)

func specialOf(lower string) special {
	switch lower {
	case "my", "self":
		return specialMy
	case "parent":
		return specialParent
	case "toplevel", "root":
		return specialRoot
	case "target", "other":
		return specialTarget
	case "left":
		return specialLeft
	case "right":
		return specialRight
	case "currenttime":
		return specialTime
	}
	return ordinary
}

func newRef(pos int, base node, absolute bool, name string) *attrRef {
	s := spelledName(name)
	n := &attrRef{at: at(pos), base: base, name: s.name, key: s.key, special: s.special}
	switch {
	case absolute:
		n.form = ofRoot
	case base != nil:
		n.form = ofValue
		if b, ok := base.(*attrRef); ok && b.form == bareName {
			switch b.special {
			case specialMy:
				n.form = ofMy
			case specialTarget:
				n.form = ofTarget
			}
		}
	}
	return n
}

// Literal returns the value of an expression that is nothing but a constant.
func (e *Expr) Literal() (Value, bool) {
	if lit, ok := e.tree().(*literal); ok {
		return lit.v, true
	}
	return Value{}, false
}

func literalExpr(v Value) *Expr { return &Expr{root: &literal{v: v}} }

// op is an operator.
type op uint8

const (
	opNone op = iota
	opOr
	opAnd
	opBitOr
	opBitXor
	opBitAnd
	opEq
	opNe
	opIs
	opIsnt
	opLt
	opLe
	opGt
	opGe
	opShl
	opShr
	opUshr
	opAdd
	opSub
	opMul
	opDiv
	opMod
	opNot
	opCompl
)

// operators gives the text of each operator and how tightly it binds as a binary one.
var operators = [...]struct {
	text, old string
	prec      int
}{
	opOr: {"||", "||", 1}, opAnd: {"&&", "&&", 2},
	opBitOr: {"|", "|", 3}, opBitXor: {"^", "^", 4}, opBitAnd: {"&", "&", 5},
	opEq: {"==", "==", 6}, opNe: {"!=", "!=", 6}, opIs: {"is", "=?=", 6}, opIsnt: {"isnt", "=!=", 6},
	opLt: {"<", "<", 7}, opLe: {"<=", "<=", 7}, opGt: {">", ">", 7}, opGe: {">=", ">=", 7},
	opShl: {"<<", "<<", 8}, opShr: {">>", ">>", 8}, opUshr: {">>>", ">>>", 8},
	opAdd: {"+", "+", 9}, opSub: {"-", "-", 9},
	opMul: {"*", "*", 10}, opDiv: {"/", "/", 10}, opMod: {"%", "%", 10},
	opNot: {"!", "!", 0}, opCompl: {"~", "~", 0},
}
