package classad

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// UnmarshalJSON reads an ad as HTCondor's tools write it. It replaces all that a has.
func (a *Ad) UnmarshalJSON(data []byte) error {
	d := newJSONReader(data)
	if d.next() != '{' {
		d.fail("a JSON ad must be an object")
	}
	n, _ := d.value()
	if err := d.end(); err != nil {
		return err
	}
	*a = *n.(*adNode).ad
	a.touch()
	return nil
}

// UnmarshalJSON reads one value of a JSON ad.
func (e *Expr) UnmarshalJSON(data []byte) error {
	d := newJSONReader(data)
	n, _ := d.value()
	if err := d.end(); err != nil {
		return err
	}
	e.root = n
	return nil
}

// A jsonReader is a recursive descent over JSON. It is not encoding/json's, since that needs ten
// times as long for an ad, and ads are what a matchmaker reads most. As in the parser, methods return
// a tree and its height, which mean nothing after an error.
type jsonReader struct {
	src   string
	off   int
	depth int
	err   error

	keep  keeper
	names []*spelled // of the ads that are being read, the inner ones behind the outer
	slots []Value
}

func newJSONReader(data []byte) *jsonReader {
	const usual = 64 // attributes
	d := &jsonReader{src: string(data), names: make([]*spelled, 0, usual), slots: make([]Value, 0, usual)}
	if len(data) > maxSource {
		d.off = maxSource
		d.fail("the text is too long")
	}
	return d
}

func (d *jsonReader) fail(format string, args ...any) {
	if d.err == nil {
		d.err = syntaxError(d.src, d.off, fmt.Sprintf(format, args...))
	}
	d.off = len(d.src)
}

// end returns the first error; there must be nothing left.
func (d *jsonReader) end() error {
	if d.err == nil && d.next() != 0 {
		d.fail("there is text after the end")
	}
	if d.err != nil {
		return fmt.Errorf("classad: reading JSON: %w", d.err)
	}
	return nil
}

// next passes over white space and returns the byte that comes then, 0 at the end.
func (d *jsonReader) next() byte {
	for ; d.off < len(d.src); d.off++ {
		switch c := d.src[d.off]; c {
		case ' ', '\t', '\n', '\r':
		case 0:
			d.fail("unexpected NUL byte")
		default:
			return c
		}
	}
	return 0
}

// accept takes c if that comes next.
func (d *jsonReader) accept(c byte) bool {
	if d.next() != c {
		return false
	}
	d.off++
	return true
}

func (d *jsonReader) value() (node, int) {
	if d.depth >= maxNesting {
		d.fail("nested too deeply")
	}
	switch c := d.next(); {
	case d.err != nil:
		return undefinedNode, 0
	case c == '{':
		return d.object()
	case c == '[':
		return d.list()
	case c == '"':
		start := d.off
		s, escaped := d.string()
		if inner, ok := exprText(s); ok {
			return d.expr(inner, start)
		}
		if !escaped {
			s = d.keep.string(s)
		}
		return &literal{v: stringValue(s)}, 1
	case c == '-' || isDigit(c):
		return &literal{v: d.number()}, 1
	}
	for _, w := range [...]struct {
		text string
		v    Value
	}{{"true", boolValue(true)}, {"false", boolValue(false)}, {"null", undefinedValue}} {
		if strings.HasPrefix(d.src[d.off:], w.text) {
			d.off += len(w.text)
			return &literal{v: w.v}, 1
		}
	}
	d.fail("expected a value")
	return undefinedNode, 0
}

// exprText takes the text of an expression from the string that stands for it.
func exprText(s string) (string, bool) {
	inner, ok := strings.CutPrefix(s, exprOpen)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(inner, exprClose)
}

func (d *jsonReader) object() (node, int) {
	d.off++
	d.depth++
	mine, height := len(d.names), 0
	for d.err == nil && !d.accept('}') {
		if len(d.names) > mine && !d.accept(',') {
			d.fail("expected , or }")
		}
		if d.err == nil && d.next() != '"' {
			d.fail("expected an attribute name in quotes")
			break
		}
		name, _ := d.string()
		if d.err == nil && !d.accept(':') {
			d.fail("expected : after the name %s", name)
		}
		if len(d.names)-mine >= maxAttrs {
			d.fail("the ad has too many attributes")
		}
		n, h := d.value()
		d.names = append(d.names, spelledName(name))
		d.slots = append(d.slots, slotOf(&Expr{root: n}))
		height = max(height, h)
	}
	d.depth--
	if d.err != nil {
		return undefinedNode, 0
	}
	ad := newAd(d.names[mine:], d.slots[mine:])
	d.names, d.slots = d.names[:mine], d.slots[:mine]
	return &adNode{ad: ad}, height + 1
}

func (d *jsonReader) list() (node, int) {
	d.off++
	d.depth++
	var elems []node
	height := 0
	for d.err == nil && !d.accept(']') {
		if len(elems) > 0 && !d.accept(',') {
			d.fail("expected , or ]")
		}
		n, h := d.value()
		elems = append(elems, n)
		height = max(height, h)
	}
	d.depth--
	if d.err != nil {
		return undefinedNode, 0
	}
	return new(builder).list(0, elems), height + 1
}

// string reads a string, and tells whether that is a copy of its own.
func (d *jsonReader) string() (s string, escaped bool) {
	start := d.off
	d.off++
	plain := true
	for ; d.off < len(d.src); d.off++ {
		switch c := d.src[d.off]; {
		case c == '"':
			d.off++
			s = d.src[start+1 : d.off-1]
			if !plain || !utf8.ValidString(s) {
				return d.unescape(d.src[start:d.off]), true
			}
			return s, false
		case c == '\\':
			plain = false
			d.off++
		case c < ' ':
			d.fail("unexpected control character in a string")
			return "", false
		}
	}
	d.off = start
	d.fail("the string is not closed")
	return "", false
}

// unescape decodes a string with its quotes.
func (d *jsonReader) unescape(quoted string) string {
	b := make([]byte, 0, len(quoted))
	for i := 1; i < len(quoted)-1; i++ {
		c := quoted[i]
		if c == '\\' {
			i++
			k := strings.IndexByte(`"\/bfnrt`, quoted[i])
			if k < 0 {
				return d.unescapeAll(quoted)
			}
			c = "\"\\/\b\f\n\r\t"[k]
		}
		b = append(b, c)
	}
	if !utf8.Valid(b) {
		return d.unescapeAll(quoted)
	}
	return string(b)
}

// unescapeAll knows how characters are written by their numbers, and what becomes of those that are none.
func (d *jsonReader) unescapeAll(quoted string) string {
	var s string
	if err := json.Unmarshal([]byte(quoted), &s); err != nil {
		d.fail("%v", err)
	}
	if strings.IndexByte(s, 0) >= 0 {
		d.fail("a string cannot contain a NUL byte")
	}
	return s
}

// number reads a number as JSON writes one.
func (d *jsonReader) number() Value {
	start := d.off
	digits := func() {
		from := d.off
		for d.off < len(d.src) && isDigit(d.src[d.off]) {
			d.off++
		}
		if d.off == from {
			d.fail("expected a digit")
		}
	}
	is := func(chars string) bool {
		if d.off < len(d.src) && strings.IndexByte(chars, d.src[d.off]) >= 0 {
			d.off++
			return true
		}
		return false
	}
	is("-")
	if !is("0") {
		digits()
	}
	if is(".") {
		digits()
	}
	if is("eE") {
		is("+-")
		digits()
	}
	if d.err != nil {
		return undefinedValue
	}
	return jsonNumber(d.src[start:d.off])
}

// expr parses the expression of a string that begins at start.
func (d *jsonReader) expr(src string, start int) (node, int) {
	p := newParser(src, false)
	p.depth = d.depth
	n, h := p.expr()
	p.end()
	if p.err != nil {
		d.off = start
		d.fail("in the expression, at %v", p.err)
		return undefinedNode, 0
	}
	return n, h
}

// jsonNumber takes a number without a fraction or exponent for an integer if it fits.
func jsonNumber(s string) Value {
	if v, ok := plainNumber(s); ok {
		return v
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return intValue(i)
	}
	f, _ := strconv.ParseFloat(s, 64) // beyond the range it is an infinity
	return realValue(f)
}
