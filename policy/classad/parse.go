package classad

import (
	"fmt"
	"strings"
)

// ParseExpr parses an expression in the new syntax. The error is a [*SyntaxError].
func ParseExpr(src string) (*Expr, error) { return parseExpr(src, false) }

// ParseOldExpr parses an expression as submit files, configuration values and the lines of old ads
// are parsed: in a string a backslash is an ordinary character, except that \" is a quote. The error
// is a [*SyntaxError].
func ParseOldExpr(src string) (*Expr, error) { return parseExpr(src, true) }

// ParseAd parses an ad in the new syntax, [ name = expr; ... ]. The error is a [*SyntaxError].
func ParseAd(src string) (*Ad, error) {
	p := newParser(src, false)
	if p.err == nil && !p.isPunct('[') {
		p.fail(p.tok.pos, "expected [ at the beginning of an ad")
	}
	ad, _ := p.ad()
	p.end()
	if p.err != nil {
		return nil, p.err
	}
	return ad, nil
}

// ParseOldAd parses an ad in the old syntax, one Name = expr per line. Blank lines and lines that
// begin with # are skipped. The error is a [*SyntaxError].
func ParseOldAd(src string) (*Ad, error) {
	if len(src) > maxSource {
		return nil, syntaxError(src, maxSource, "the text is too long")
	}
	ad := NewAd()
	for line, rest := 1, src; rest != ""; line++ {
		var text string
		text, rest, _ = strings.Cut(rest, "\n")
		if t := strings.TrimSpace(text); t == "" || t[0] == '#' {
			continue
		}
		p := newParser(text, true)
		name := p.tok.text
		switch {
		case p.tok.kind != tokIdent && p.tok.kind != tokQuoted:
			p.fail(p.tok.pos, "expected an attribute name")
		case len(ad.attrs) >= maxAttrs:
			p.fail(p.tok.pos, "the ad has too many attributes")
		}
		p.next()
		p.expect('=', "after the name "+name)
		e := p.whole()
		if p.err != nil {
			p.err.Line = line
			return nil, p.err
		}
		ad.Set(name, e)
	}
	return ad, nil
}

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
	depth int // of the recursion
}

func newParser(src string, old bool) *parser {
	p := &parser{scanner: scanner{src: src, old: old}}
	if len(src) > maxSource {
		p.fail(maxSource, "the text is too long")
	}
	p.next()
	return p
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

func (p *parser) unexpected(where string) { p.fail(p.tok.pos, "unexpected %s %s", p.found(), where) }

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
	defer func() { p.depth-- }()
	n, h := p.binary(1)
	if !p.isPunct('?') {
		return n, h
	}
	t := &ternary{at: at(p.tok.pos), cond: n}
	p.next()
	if !p.isPunct(':') {
		yes, hy := p.expr()
		t.yes, h = yes, max(h, hy)
	}
	p.expect(':', "in the conditional")
	no, hn := p.expr()
	t.no = no
	return t, p.grown(max(h, hn))
}

// binary parses operators that bind at least as tightly as prec. All associate to the left.
func (p *parser) binary(prec int) (node, int) {
	x, h := p.unary()
	for p.err == nil {
		o := p.binaryOp()
		if o == opNone || operators[o].prec < prec {
			break
		}
		pos := p.tok.pos
		p.next()
		y, hy := p.binary(operators[o].prec + 1)
		x, h = &binary{at: at(pos), op: o, x: x, y: y}, p.grown(max(h, hy))
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

func (p *parser) unary() (node, int) {
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
	x, h := p.unary()
	p.depth--
	return &unary{at: at(pos), op: o, x: x}, p.grown(h)
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
			x, h = &subscript{at: at(pos), x: x, index: i}, max(h, hi)
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
			return &paren{pos, x}, p.grown(h)
		case '{':
			p.next()
			elems, h := p.list('}', "to close the list")
			return &listNode{pos, elems}, p.grown(h)
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
	return &literal{at(pos), stringValue(text)}
}

// constants are the words that are values.
var constants = map[string]Value{
	"true": boolValue(true), "false": boolValue(false), "undefined": undefinedValue, "error": errorValue,
}

// word parses a constant, an attribute or a function call.
func (p *parser) word() (node, int) {
	pos, text := p.tok.pos, p.tok.text
	if len(text) <= len("undefined") {
		if v, ok := constants[lower(text)]; ok {
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
	args, h := p.list(')', "after the arguments of "+text)
	if p.err != nil {
		return nil, 0
	}
	c := &call{at: at(pos), name: text, fn: builtins[lower(text)], args: args}
	if c.fn != nil && c.fn.check != nil {
		constant, err := c.fn.check(args)
		if err != nil {
			p.fail(pos, "%s: %v", text, err)
		}
		if constant != nil {
			return constant, 1
		}
	}
	return c, p.grown(h)
}

// list parses expressions with commas between them, and the end. It returns the greatest height.
func (p *parser) list(end byte, where string) ([]node, int) {
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

// ad parses [ name = expr; ... ]. A name that comes twice has its last expression.
func (p *parser) ad() (*Ad, int) {
	ad := NewAd()
	height := 0
	p.accept('[')
	for p.err == nil {
		if p.accept(';') {
			continue
		}
		if p.accept(']') {
			break
		}
		if p.tok.kind == tokIdent && isReserved(p.tok.text) {
			p.unexpected("where an attribute name should be; put it in single quotes")
		}
		name := p.name("where an attribute name should be")
		p.expect('=', "after the name "+name)
		x, h := p.expr()
		if len(ad.attrs) >= maxAttrs {
			p.fail(p.tok.pos, "the ad has too many attributes")
		}
		ad.Set(name, &Expr{root: x})
		height = max(height, h)
		if !p.isPunct(']') {
			p.expect(';', fmt.Sprintf("or ] after the value of %s", name))
		}
	}
	return ad, height
}

// isReserved reports whether the word is not an attribute name unless it is quoted.
func isReserved(word string) bool {
	switch lower(word) {
	case "true", "false", "undefined", "error", "is", "isnt":
		return true
	}
	return false
}
