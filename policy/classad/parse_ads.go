package classad

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// ParseAd parses an ad in the new syntax, [ name = expr; ... ]. The error is a [*SyntaxError].
func ParseAd(src string) (*Ad, error) {
	p := parsers.Get().(*parser)
	defer p.release()
	p.start(src, false)
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
	p := parsers.Get().(*parser)
	defer p.release()
	for line, rest := 1, src; rest != ""; line++ {
		text := rest
		if i := strings.IndexByte(rest, '\n'); i >= 0 {
			text, rest = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		name, slot, ok := plainLine(text, &p.keep)
		if !ok {
			if t := strings.TrimSpace(text); t == "" || t[0] == '#' {
				continue
			}
			var e *Expr
			p.start(text, true)
			name, e = p.line()
			if p.err != nil {
				p.err.Line = line
				return nil, p.err
			}
			slot = slotOf(e)
		}
		if len(p.names) >= maxAttrs {
			return nil, &SyntaxError{Line: line, Col: 1, Msg: "the ad has too many attributes", Text: text}
		}
		p.names = append(p.names, spelledName(name))
		p.slots = append(p.slots, slot)
	}
	return newAd(p.names, p.slots), nil
}

// parsers are used again for ads, mainly for the memory in which they gather attributes.
var parsers = sync.Pool{New: func() any { return new(parser) }}

func (p *parser) release() {
	names, slots := p.names[:cap(p.names)], p.slots[:cap(p.slots)]
	if max(len(names), len(slots)) > maxRemembered {
		return
	}
	clear(names)
	clear(slots)
	*p = parser{names: names[:0], slots: slots[:0]}
	parsers.Put(p)
}

// line parses Name = expr.
func (p *parser) line() (name string, e *Expr) {
	name = p.tok.text
	if p.err == nil && p.tok.kind != tokIdent && p.tok.kind != tokQuoted {
		p.fail(p.tok.pos, "expected an attribute name")
	}
	p.next()
	if p.err == nil && !p.accept('=') {
		p.expect('=', "after the name "+name)
	}
	return name, p.whole()
}

// plainLine reads a line Name = literal, as most lines of an ad are, if it is written in the usual
// way. It is all that [parser.line] would do with such a line, and never the only one to read it:
// whatever it does not understand at once it leaves alone.
func plainLine(text string, keep *keeper) (name string, v Value, ok bool) {
	i := 0
	for i < len(text) && isWordByte[text[i]] {
		i++
	}
	if i == 0 || isDigit(text[0]) {
		return "", v, false
	}
	name, text = text[:i], text[i:]
	for text != "" && text[0] == ' ' {
		text = text[1:]
	}
	if len(text) < 2 || text[0] != '=' {
		return "", v, false
	}
	text = text[1:]
	for text != "" && text[0] == ' ' {
		text = text[1:]
	}
	for text != "" && (text[len(text)-1] == ' ' || text[len(text)-1] == '\r') {
		text = text[:len(text)-1]
	}
	if text == "" {
		return "", v, false
	}
	switch c := text[0]; {
	case c == '"':
		if len(text) < 2 || strings.IndexByte(text[1:], '"') != len(text)-2 ||
			strings.IndexByte(text, '\\') >= 0 || strings.IndexByte(text, 0) >= 0 {
			return "", v, false
		}
		return name, stringValue(keep.string(text[1 : len(text)-1])), true
	case isDigit(c), c == '-':
		v, ok = plainNumber(text)
		return name, v, ok
	}
	v, ok = wordValue(text)
	return name, v, ok
}

// plainNumber reads 12, -12 and 1.5.
func plainNumber(text string) (Value, bool) {
	digits := strings.TrimPrefix(text, "-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] != '.' || len(digits) > 18 {
		return Value{}, false // 18 digits always fit
	}
	n, dot := int64(0), -1
	for i := range len(digits) {
		switch c := digits[i]; {
		case isDigit(c):
			n = n*10 + int64(c-'0')
		case c == '.' && dot < 0 && i > 0 && i < len(digits)-1:
			dot = i
		default:
			return Value{}, false
		}
	}
	switch {
	case digits == "":
		return Value{}, false
	case dot >= 0:
		f, err := strconv.ParseFloat(text, 64)
		return realValue(f), err == nil
	case len(digits) < len(text):
		n = -n
	}
	return intValue(n), true
}

// wordValue is the constant that a word stands for.
func wordValue(word string) (Value, bool) {
	switch len(word) {
	case len("true"):
		return boolValue(true), compareFold(word, "true") == 0
	case len("false"):
		if compareFold(word, "false") == 0 {
			return boolValue(false), true
		}
		return errorValue, compareFold(word, "error") == 0
	case len("undefined"):
		return undefinedValue, compareFold(word, "undefined") == 0
	}
	return Value{}, false
}

// ad parses [ name = expr; ... ]. A name that comes twice has its last expression.
func (p *parser) ad() (*Ad, int) {
	mine := len(p.names) // where those of this ad begin
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
		if !p.accept('=') {
			p.expect('=', "after the name "+name)
		}
		x, h := p.expr()
		if len(p.names)-mine >= maxAttrs {
			p.fail(p.tok.pos, "the ad has too many attributes")
		}
		if p.err != nil {
			break
		}
		p.names = append(p.names, spelledName(name))
		if lit, ok := x.(*literal); ok {
			p.slots = append(p.slots, lit.v)
		} else {
			p.slots = append(p.slots, slotOf(&Expr{root: x}))
		}
		height = max(height, h)
		if !p.isPunct(']') && !p.accept(';') {
			p.expect(';', fmt.Sprintf("or ] after the value of %s", name))
		}
	}
	ad := newAd(p.names[mine:], p.slots[mine:])
	p.names, p.slots = p.names[:mine], p.slots[:mine]
	return ad, height
}

// isReserved reports whether the word is not an attribute name unless it is quoted.
func isReserved(word string) bool {
	if _, ok := wordValue(word); ok {
		return true
	}
	return compareFold(word, "is") == 0 || compareFold(word, "isnt") == 0
}

// A keeper copies the strings of an ad into few pieces of memory, so that they do not keep the text of
// the ad.
type keeper struct {
	buf []byte
}

func (k *keeper) string(s string) string {
	const piece = 512
	if s == "" {
		return ""
	}
	if isWord(s) { // such as X86_64, which many ads have, and which is asked for
		return spelledName(s).name
	}
	if len(k.buf)+len(s) > cap(k.buf) {
		k.buf = make([]byte, 0, max(piece, len(s)))
	}
	start := len(k.buf)
	k.buf = append(k.buf, s...)
	return unsafe.String(&k.buf[start], len(s)) // what has been written is never changed
}

// isWord reports whether s could be a short name.
func isWord(s string) bool {
	const short = 16
	if len(s) > short || !isLetter(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isWordByte[s[i]] {
			return false
		}
	}
	return true
}
