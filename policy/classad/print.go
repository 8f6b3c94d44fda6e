package classad

import (
	"math"
	"strconv"
	"strings"
)

// String prints e in the new syntax. Parsing the result gives e again.
func (e *Expr) String() string {
	p := printer{}
	e.tree().print(&p)
	return p.String()
}

// OldString prints e in the old syntax. Parsing the result with [ParseOldExpr] gives e again, except
// for what the old syntax cannot say: a string with a line break, or one that ends in a backslash and
// is not the end of the expression.
func (e *Expr) OldString() string {
	p := printer{old: true}
	e.tree().print(&p)
	return p.String()
}

// ReadableString is OldString with the shortest form of each real that is the same number: 9.2, where 16 digits make
// 9.199999999999999 of it.
func (e *Expr) ReadableString() string {
	p := printer{old: true, short: true}
	e.tree().print(&p)
	return p.String()
}

// String prints the ad's own attributes in the new syntax, on one line.
func (a *Ad) String() string {
	p := printer{}
	p.ad(a)
	return p.String()
}

// OldString prints the ad's own attributes in the old syntax, each on a line of its own.
func (a *Ad) OldString() string {
	p := printer{old: true}
	for name, e := range a.all {
		p.name(name)
		p.WriteString(" = ")
		e.root.print(&p)
		p.WriteByte('\n')
	}
	return p.String()
}

// A printer writes trees and values. Its two habits are that of this package, which comes through
// the parser unchanged, and HTCondor's, which the language's own unparse and string functions show:
// 16 digits, and a blank before a unary operator.
type printer struct {
	strings.Builder
	old    bool
	condor bool
	short  bool // of reals, no more digits than needed
	pretty bool // lists and ads over several lines
	indent int
}

func (p *printer) value(v Value) {
	switch v.kind {
	case Undefined, Error:
		p.WriteString(v.kind.String())
	case Boolean:
		p.WriteString(strconv.FormatBool(v.bits != 0))
	case Integer:
		p.WriteString(strconv.FormatInt(v.int(), 10))
	case Real:
		if f := v.float(); p.short && math.Abs(f) >= 1e-4 && math.Abs(f) < 1e15 {
			p.WriteString(withPoint(strconv.FormatFloat(f, 'f', -1, 64)))
			return
		}
		p.WriteString(formatReal(v.float(), p.old, p.condor))
	case String:
		p.quote(v.text(), '"')
	case List:
		p.braces(v.body().elems)
	case AdKind:
		p.ad(v.body().sc.ad)
	case AbsTime:
		p.WriteString(`absTime("` + formatAbsTime(v.int(), int(v.off)) + `")`)
	case RelTime:
		p.WriteString(`relTime("` + formatRelTime(v.float()) + `")`)
	}
}

// formatReal prints f so that it reads as a real: in the new syntax always with an exponent, in the
// old one short. It has 16 digits or, if exact is possible only so and condor is false, 17.
func formatReal(f float64, old, condor bool) string {
	switch {
	case math.IsNaN(f):
		return `real("NaN")`
	case math.IsInf(f, 1):
		return `real("INF")`
	case math.IsInf(f, -1):
		return `real("-INF")`
	case f == 0 && math.Signbit(f):
		return "-0.0"
	case f == 0:
		return "0.0"
	}
	digits := 16
	if g, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'E', 15, 64), 64); g != f && !condor {
		digits = 17
	}
	if !old {
		return strconv.FormatFloat(f, 'E', digits-1, 64)
	}
	// As C's %.16G: an exponent below -4 or from the number of digits on.
	e := strconv.FormatFloat(f, 'E', digits-1, 64)
	mantissa, exp, _ := strings.Cut(e, "E")
	x, _ := strconv.Atoi(exp)
	if x < -4 || x >= digits {
		return trimZeros(mantissa) + "E" + exp
	}
	return withPoint(trimZeros(strconv.FormatFloat(f, 'f', digits-1-x, 64)))
}

// withPoint makes a real of digits that would be read as an integer.
func withPoint(s string) string {
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// quote prints a string or a quoted name.
func (p *printer) quote(s string, quote byte) {
	p.WriteByte(quote)
	for i := range len(s) {
		c := s[i]
		if p.old {
			if c == '"' {
				p.WriteByte('\\')
			}
			p.WriteByte(c)
			continue
		}
		if c == quote || c == '\\' {
			p.WriteByte('\\')
			p.WriteByte(c)
		} else if '\a' <= c && c <= '\r' {
			p.WriteByte('\\')
			p.WriteByte("abtnvfr"[c-'\a'])
		} else if c < ' ' || c > '~' {
			p.Write([]byte{'\\', '0' + c>>6, '0' + c>>3&7, '0' + c&7})
		} else {
			p.WriteByte(c)
		}
	}
	p.WriteByte(quote)
}

// name prints an attribute name, in quotes if it is not an identifier.
func (p *printer) name(name string) {
	plain := name != "" && !isDigit(name[0]) && !isReserved(name) && compareFold(name, "parent") != 0
	for i := 0; plain && i < len(name); i++ {
		plain = isLetter(name[i]) || isDigit(name[i])
	}
	if plain {
		p.WriteString(name)
	} else {
		p.quote(name, '\'')
	}
}

func (p *printer) list(open string, elems []node, end string) {
	p.WriteString(open)
	for i, e := range elems {
		if i > 0 {
			p.WriteByte(',')
			if !p.condor {
				p.WriteByte(' ')
			}
		}
		e.print(p)
	}
	p.WriteString(end)
}

func (p *printer) braces(elems []node) {
	if !p.pretty {
		p.list("{ ", elems, " }")
		return
	}
	const indent = 3
	p.indent += indent
	p.line()
	p.WriteByte('{')
	p.indent += indent
	for i, e := range elems {
		if i > 0 {
			p.WriteByte(',')
		}
		p.line()
		e.print(p)
	}
	p.indent -= indent
	p.line()
	p.WriteByte('}')
	p.indent -= indent
}

// line begins a new line of what is printed prettily.
func (p *printer) line() {
	p.WriteByte('\n')
	const deepest = 400 // blanks; beyond, the shape is not seen any more
	for range min(p.indent, deepest) {
		p.WriteByte(' ')
	}
}

func (p *printer) ad(a *Ad) {
	const indent = 4
	if p.pretty {
		p.indent += indent
		p.line()
		p.WriteByte('[')
		p.indent += indent
	} else {
		p.WriteString("[ ")
	}
	first := true
	for name, e := range a.all {
		if !first {
			p.WriteString("; ")
		}
		first = false
		if p.pretty {
			p.line()
		}
		p.name(name)
		p.WriteString(" = ")
		e.root.print(p)
	}
	if p.pretty {
		p.indent -= indent
		p.line()
		p.WriteByte(']')
		p.indent -= indent
	} else {
		p.WriteString(" ]")
	}
}

func (p *printer) operator(o op) {
	if p.old {
		p.WriteString(operators[o].old)
	} else {
		p.WriteString(operators[o].text)
	}
}

func (n *literal) print(p *printer)  { p.value(n.v) }
func (n *listNode) print(p *printer) { p.braces(n.elems) }
func (n *adNode) print(p *printer)   { p.ad(n.ad) }

func (n *paren) print(p *printer) {
	p.WriteByte('(')
	n.x.print(p)
	p.WriteByte(')')
}

func (n *attrRef) print(p *printer) {
	if n.base != nil {
		n.base.print(p)
		if lit, ok := asWritten(n.base).(*literal); ok && hasDigits(lit.v) {
			p.WriteByte(' ') // 1.x would be a number
		}
	}
	if n.form != bareName {
		p.WriteByte('.')
	}
	p.name(n.name)
}

func (n *unary) print(p *printer) {
	if p.condor {
		p.WriteByte(' ')
	}
	p.operator(n.op)
	// Without the blank, minus and a number would be a negative number.
	if n.op == opSub && !p.condor && startsWithNumber(n.x) {
		p.WriteByte(' ')
	}
	n.x.print(p)
}

// hasDigits reports whether v is printed as a number. Infinities are printed as calls.
func hasDigits(v Value) bool {
	return v.kind == Integer || v.kind == Real && !math.IsInf(v.float(), 0) && !math.IsNaN(v.float())
}

func startsWithNumber(n node) bool {
	for {
		switch x := asWritten(n).(type) {
		case *literal:
			return hasDigits(x.v) && !math.Signbit(x.v.number())
		case *subscript:
			n = x.x
		case *attrRef:
			if x.base == nil {
				return false
			}
			n = x.base
		default:
			return false
		}
	}
}

func (n *binary) print(p *printer) {
	n.x.print(p)
	p.WriteByte(' ')
	p.operator(n.op)
	p.WriteByte(' ')
	n.y.print(p)
}

func (n *ternary) print(p *printer) {
	n.cond.print(p)
	if n.yes == nil {
		p.WriteString(" ?: ")
	} else {
		p.WriteString(" ? ")
		n.yes.print(p)
		p.WriteString(" : ")
	}
	n.no.print(p)
}

func (n *subscript) print(p *printer) {
	n.x.print(p)
	p.WriteByte('[')
	n.index.print(p)
	p.WriteByte(']')
}

func (n *call) print(p *printer) {
	p.WriteString(n.name)
	p.list("(", n.args, ")")
}
