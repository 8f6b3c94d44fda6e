package classad

import (
	"bytes"
	"encoding/json"
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
