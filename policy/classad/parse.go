package classad

import "strings"

// ParseExpr parses an expression in the new syntax. The error is a [*SyntaxError].
func ParseExpr(src string) (*Expr, error) { return parseExpr(src, false) }

// ParseOldExpr parses an expression as submit files, configuration values and the lines of old ads
// are parsed: in a string a backslash is an ordinary character, except that \" is a quote. The error
// is a [*SyntaxError].
func ParseOldExpr(src string) (*Expr, error) { return parseExpr(src, true) }

func parseExpr(src string, old bool) (*Expr, error) {
	p := newParser(src, old)
	e := p.whole()
	if p.err != nil {
		return nil, p.err
	}
	return e, nil
}

// A parser is a recursive descent over the tokens. Its methods return a tree and the tree's height;
// after an error, which is kept in scanner.err, both are meaningless.
type parser struct {
	scanner
	builder
	keep keeper // of strings

	names []*spelled // of the ads that are being read, the inner ones behind the outer
	slots []Value
	depth int // of the recursion
}

func newParser(src string, old bool) *parser {
	p := &parser{}
	p.start(src, old)
	return p
}

// start makes p read src.
func (p *parser) start(src string, old bool) {
	p.scanner = scanner{src: src, old: old}
	p.depth = 0
	if len(src) > maxSource {
		p.fail(maxSource, "the text is too long")
	}
	p.next()
}

// whole parses an expression and the end of the text.
func (p *parser) whole() *Expr {
	n, _ := p.expr()
	p.end()
	return &Expr{root: n}
}

func (p *parser) end() {
	if p.err == nil && p.tok.kind != tokEOF {
		p.unexpected("after the end of the expression")
	}
}

func (p *parser) isPunct(c byte) bool { return p.tok.kind == tokPunct && p.tok.punct == c }

func (p *parser) accept(c byte) bool {
	if p.isPunct(c) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(c byte, where string) {
	if p.err == nil && !p.accept(c) {
		p.fail(p.tok.pos, "expected %c %s, found %s", c, where, p.found())
	}
}

func (p *parser) unexpected(where string) {
	if p.tok.kind == tokEOF {
		p.fail(p.tok.pos, "the text ends %s", where)
		return
	}
	p.fail(p.tok.pos, "unexpected %s %s", p.found(), where)
}

// found describes the current token.
func (p *parser) found() string {
	switch p.tok.kind {
	case tokEOF:
		return "the end"
	case tokIdent:
		return p.tok.text
	case tokQuoted:
		return "a quoted name"
	case tokString:
		return "a string"
	case tokNumber:
		return "a number"
	case tokOp:
		return operators[p.tok.op].old
	}
	return string(rune(p.tok.punct))
}

// grown checks the height of a tree that has just become one higher.
func (p *parser) grown(height int) int {
	if height >= maxHeight {
		p.fail(p.tok.pos, "the expression is too long")
	}
	return height + 1
}

// deeper counts a level of recursion. Whoever calls it takes it back from depth.
func (p *parser) deeper() {
	if p.depth++; p.depth > maxNesting {
		p.fail(p.tok.pos, "the expression is nested too deeply")
	}
}

// expr parses a conditional or anything that binds more tightly.
func (p *parser) expr() (node, int) {
	p.deeper()
	n, h := p.operation(1)
	if p.isPunct('?') {
		n, h = p.conditional(n, h)
	}
	p.depth--
	return n, h
}

// conditional parses what follows a condition.
func (p *parser) conditional(n node, h int) (node, int) {
	pos := at(p.tok.pos)
	p.next()
	var yes node
	if !p.isPunct(':') {
		var hy int
		yes, hy = p.expr()
		h = max(h, hy)
	}
	p.expect(':', "in the conditional")
	no, hn := p.expr()
	if p.err != nil {
		return nil, 0
	}
	return p.ternary(pos, n, yes, no), p.grown(max(h, hn))
}

// operation parses operators that bind at least as tightly as prec. All associate to the left.
func (p *parser) operation(prec int) (node, int) {
	x, h := p.operand()
	for p.err == nil {
		o := p.binaryOp()
		if o == opNone || operators[o].prec < prec {
			break
		}
		pos := p.tok.pos
		p.next()
		y, hy := p.operation(operators[o].prec + 1)
		if p.err != nil {
			break
		}
		x, h = p.builder.binary(at(pos), o, x, y), p.grown(max(h, hy))
	}
	return x, h
}

// binaryOp returns the binary operator that comes next, if there is one.
func (p *parser) binaryOp() op {
	switch {
	case p.tok.kind == tokOp && operators[p.tok.op].prec > 0:
		return p.tok.op
	case p.tok.kind == tokIdent && compareFold(p.tok.text, "is") == 0:
		return opIs
	case p.tok.kind == tokIdent && compareFold(p.tok.text, "isnt") == 0:
		return opIsnt
	}
	return opNone
}

func (p *parser) operand() (node, int) {
	if p.tok.kind != tokOp {
		return p.postfix()
	}
	pos, o := p.tok.pos, p.tok.op
	switch {
	case o == opSub && p.negative():
		return p.postfix()
	case o != opSub && o != opAdd && o != opNot && o != opCompl:
		p.unexpected("where a value should be")
		return nil, 0
	}
	p.deeper()
	p.next()
	x, h := p.operand()
	p.depth--
	if p.err != nil {
		return nil, 0
	}
	return p.unary(at(pos), o, x), p.grown(h)
}

// postfix parses a value with its selections and subscripts.
func (p *parser) postfix() (node, int) {
	x, h := p.primary()
	for p.err == nil {
		pos := p.tok.pos
		switch {
		case p.accept('.'):
			p.accept('.') // a..b is a.b for HTCondor
			x = newRef(pos, x, false, p.name("after the dot"))
		case p.accept('['):
			i, hi := p.expr()
			p.expect(']', "after the subscript")
			if p.err != nil {
				return nil, 0
			}
			x, h = p.subscript(at(pos), x, i), max(h, hi)
		default:
			return x, h
		}
		h = p.grown(h)
	}
	return x, h
}

// name takes an identifier or quoted name.
func (p *parser) name(where string) string {
	if p.tok.kind != tokIdent && p.tok.kind != tokQuoted {
		p.unexpected(where)
		return ""
	}
	name := p.tok.text
	p.next()
	return name
}

func (p *parser) primary() (node, int) {
	tok := p.tok
	pos := at(tok.pos)
	switch tok.kind {
	case tokNumber:
		p.next()
		return &literal{pos, tok.num}, 1
	case tokString:
		return p.str(), 1
	case tokQuoted:
		p.next()
		return newRef(tok.pos, nil, false, tok.text), 1
	case tokIdent:
		return p.word()
	case tokPunct:
		switch tok.punct {
		case '(':
			p.next()
			x, h := p.expr()
			p.expect(')', "to close the parenthesis")
			if p.err != nil {
				return nil, 0
			}
			return p.paren(pos, x), p.grown(h)
		case '{':
			p.next()
			elems, h := p.elements('}', "to close the list")
			if p.err != nil {
				return nil, 0
			}
			return p.list(pos, elems), p.grown(h)
		case '[':
			ad, h := p.ad()
			return &adNode{pos, ad}, p.grown(h)
		case '.':
			p.next()
			return newRef(tok.pos, nil, true, p.name("after the dot")), 1
		}
	}
	if p.err == nil {
		p.unexpected("where a value should be")
	}
	return nil, 0
}

// str parses a string; in the new syntax, strings that follow each other are one.
func (p *parser) str() node {
	pos, text := p.tok.pos, p.tok.text
	p.next()
	if !p.old && p.tok.kind == tokString {
		var b strings.Builder
		b.WriteString(text)
		for p.tok.kind == tokString {
			b.WriteString(p.tok.text)
			p.next()
		}
		text = b.String()
	}
	return &literal{at(pos), stringValue(p.keep.string(text))}
}

// word parses a constant, an attribute or a function call.
func (p *parser) word() (node, int) {
	pos, text := p.tok.pos, p.tok.text
	if len(text) <= len("undefined") {
		if v, ok := wordValue(text); ok {
			p.next()
			return &literal{at(pos), v}, 1
		}
		if p.binaryOp() != opNone {
			p.unexpected("where a value should be")
			return nil, 0
		}
	}
	p.next()
	if !p.accept('(') {
		return newRef(pos, nil, false, text), 1
	}
	args, h := p.elements(')', "after the arguments of "+text)
	if p.err != nil {
		return nil, 0
	}
	if fn := builtinNamed(text); fn != nil && fn.check != nil {
		constant, err := fn.check(args)
		if err != nil {
			p.fail(pos, "%s: %v", text, err)
		}
		if constant != nil {
			return constant, 1
		}
	}
	return p.call(at(pos), text, args), p.grown(h)
}

// elements parses expressions with commas between them, and the end. It returns the greatest height.
func (p *parser) elements(end byte, where string) ([]node, int) {
	if p.accept(end) {
		return nil, 0
	}
	var elems []node
	height := 0
	for p.err == nil {
		n, h := p.expr()
		elems = append(elems, n)
		height = max(height, h)
		if !p.accept(',') {
			p.expect(end, where)
			break
		}
	}
	return elems, height
}
