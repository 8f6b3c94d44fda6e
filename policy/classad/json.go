package classad

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// HTCondor's JSON ads: an ad is an object, literals, lists and nested ads are what JSON has for
// them, undefined is null, and any other expression is a string "\/Expr(text)\/" with the text in the
// new syntax.
const (
	exprOpen  = "/Expr("
	exprClose = ")/"
)

// MarshalJSON writes the ad's own attributes, not those of a parent; send [Ad.Flat] to have both.
func (a Ad) MarshalJSON() ([]byte, error) { // not on *Ad, or an Ad within a struct would be {}
	return appendAdJSON(nil, &a), nil
}

// MarshalJSON writes e as it would be as an attribute of an ad.
func (e *Expr) MarshalJSON() ([]byte, error) { return appendJSON(nil, e.tree()), nil }

func appendAdJSON(b []byte, a *Ad) []byte {
	b = append(b, '{')
	for name, e := range a.all {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = appendJSONString(b, name)
		b = append(b, ':')
		b = appendJSON(b, e.root)
	}
	return append(b, '}')
}

func appendJSON(b []byte, n node) []byte {
	switch n := asWritten(n).(type) {
	case *literal:
		switch v := n.v; v.kind {
		case Undefined:
			return append(b, "null"...)
		case Boolean:
			return strconv.AppendBool(b, v.bits != 0)
		case Integer:
			return strconv.AppendInt(b, v.int(), 10)
		case Real:
			if f := v.float(); !math.IsInf(f, 0) && !math.IsNaN(f) {
				return append(b, formatReal(f, false, false)...)
			}
		case String:
			looksLikeExpr := strings.HasPrefix(v.text(), exprOpen) && strings.HasSuffix(v.text(), exprClose)
			if utf8.ValidString(v.text()) && !looksLikeExpr {
				return appendJSONString(b, v.text())
			}
		}
	case *listNode:
		b = append(b, '[')
		for i, e := range n.elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, e)
		}
		return append(b, ']')
	case *adNode:
		return appendAdJSON(b, n.ad)
	}
	var p printer
	n.print(&p)
	b = append(b, `"\/Expr(`...)
	quoted := appendJSONString(nil, p.String())
	b = append(b, quoted[1:len(quoted)-1]...)
	return append(b, `)\/"`...)
}

func appendJSONString(b []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = ' ' <= s[i] && s[i] <= '~' && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return append(b, `""`...) // a string is always encoded
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

// UnmarshalJSON reads an ad as HTCondor's tools write it. It replaces all that a has.
func (a *Ad) UnmarshalJSON(data []byte) error {
	d := newJSONDecoder(data)
	if t, err := d.Token(); err != nil {
		return fmt.Errorf("classad: reading JSON: %w", err)
	} else if t != json.Delim('{') {
		return errors.New("classad: a JSON ad must be an object")
	}
	ad, _, err := d.object()
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return fmt.Errorf("classad: reading JSON: %w", err)
	}
	*a = *ad
	a.touch()
	return nil
}

// UnmarshalJSON reads one value of a JSON ad.
func (e *Expr) UnmarshalJSON(data []byte) error {
	d := newJSONDecoder(data)
	n, _, err := d.value()
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return fmt.Errorf("classad: reading JSON: %w", err)
	}
	e.root = n
	return nil
}

var errNUL = errors.New("a string cannot contain a NUL byte")

type jsonDecoder struct {
	*json.Decoder
	depth int
}

func newJSONDecoder(data []byte) *jsonDecoder {
	d := &jsonDecoder{Decoder: json.NewDecoder(bytes.NewReader(data))}
	d.UseNumber()
	return d
}

func (d *jsonDecoder) end() error {
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is text after the end")
	}
	return nil
}

// object reads what follows a brace. The methods return the height of the tree, as the parser's do.
func (d *jsonDecoder) object() (*Ad, int, error) {
	var names []*spelled
	var slots []Value
	height := 0
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, 0, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, 0, errors.New("an attribute name must be a string")
		}
		if strings.IndexByte(name, 0) >= 0 {
			return nil, 0, errNUL
		}
		n, h, err := d.value()
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", name, err)
		}
		if len(names) >= maxAttrs {
			return nil, 0, errors.New("the ad has too many attributes")
		}
		names = append(names, spelledName(name))
		slots = append(slots, slotOf(&Expr{root: n}))
		height = max(height, h)
	}
	_, err := d.Token()
	return newAd(names, slots), height, err
}

func (d *jsonDecoder) value() (node, int, error) {
	if d.depth >= maxNesting {
		return nil, 0, errors.New("nested too deeply")
	}
	d.depth++
	defer func() { d.depth-- }()
	t, err := d.Token()
	if err != nil {
		return nil, 0, err
	}
	height := 1
	v := undefinedValue
	switch t := t.(type) {
	case bool:
		v = boolValue(t)
	case json.Number:
		v = jsonNumber(t.String())
	case string:
		inner, isExpr := strings.CutPrefix(t, exprOpen)
		if inner, ok := strings.CutSuffix(inner, exprClose); isExpr && ok {
			return d.expr(inner)
		}
		if strings.IndexByte(t, 0) >= 0 {
			return nil, 0, errNUL
		}
		v = stringValue(t)
	case json.Delim:
		if t == '{' {
			ad, h, err := d.object()
			return &adNode{ad: ad}, h + 1, err
		}
		var elems []node
		for d.More() {
			n, h, err := d.value()
			if err != nil {
				return nil, 0, err
			}
			elems = append(elems, n)
			height = max(height, h+1)
		}
		if _, err = d.Token(); err != nil {
			return nil, 0, err
		}
		return new(builder).list(0, elems), height, nil
	}
	return &literal{v: v}, height, nil
}

// expr parses an expression that stands as deep as d does.
func (d *jsonDecoder) expr(src string) (node, int, error) {
	p := newParser(src, false)
	p.depth = d.depth
	n, h := p.expr()
	p.end()
	if p.err != nil {
		return nil, 0, p.err
	}
	return n, h, nil
}

// jsonNumber takes a number without a fraction or exponent for an integer if it fits.
func jsonNumber(s string) Value {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return intValue(i)
	}
	f, _ := strconv.ParseFloat(s, 64) // beyond the range it is an infinity
	return realValue(f)
}
