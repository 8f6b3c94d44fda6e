package main

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
	"time"

	"skua/policy/classad"
)

// printf is HTCondor's -format: pieces of text, each with one value in it. A value that does not fit its
// format, or that is not there, leaves out its piece.
type printf struct {
	pieces []piece
	w      *bufio.Writer
	buf    []byte
}

// piece is a format that has one conversion at most, as C writes it.
type piece struct {
	expr        string
	before, end string
	spec        string // the conversion for fmt, such as "%-10s"
	verb        byte   // as in the format; 0 for none
}

// conversion finds one in a format: flags, width and precision; length, which Go has no need of; verb.
var conversion = regexp.MustCompile(`%([-+ #0]*\d{0,3}(?:\.\d{0,3})?)(?:hh|h|ll|l|j|z|t|L)?([a-zA-Z])`)

const (
	intVerbs  = "diuoxXc"
	realVerbs = "fFeEgG"
	textVerbs = "svVrT"
)

func newPrintf(flags []string, w *bufio.Writer) (*printf, error) {
	p := &printf{w: w}
	for _, flag := range flags {
		format, expr, ok := strings.Cut(flag, wordSep)
		if !ok {
			return nil, usage(`such as -format '%d\n' ClusterId`, "--format takes a format and an attribute")
		}
		if _, err := classad.ParseExpr(expr); err != nil {
			return nil, mistaken("the expression "+expr, err)
		}
		piece, err := newPiece(format)
		if err != nil {
			return nil, err
		}
		piece.expr = expr
		p.pieces = append(p.pieces, piece)
	}
	return p, nil
}

func newPiece(format string) (piece, error) {
	text := escapes.Replace(format)
	percent := strings.ReplaceAll(text, "%%", "\x01\x01") // of the same length, and no conversion
	at := conversion.FindAllStringSubmatchIndex(percent, 2)
	switch {
	case len(at) == 0:
		return piece{before: text}, nil
	case len(at) > 1:
		return piece{}, usage("give --format once for each value", "the format %q has more than one conversion", format)
	}
	m := at[0]
	verb := percent[m[4]]
	if !strings.Contains(intVerbs+realVerbs+textVerbs, string(verb)) {
		return piece{}, usage("there are %d %u %x %o %c, %f %e %g, %s, %v, %V, %r and %T", "the format %q has a conversion %%%c that is not known", format, verb)
	}
	goVerb := verb
	switch verb {
	case 'i', 'u':
		goVerb = 'd'
	case 'v', 'V', 'r', 'T':
		goVerb = 's'
	}
	return piece{
		before: strings.ReplaceAll(percent[:m[0]], "\x01\x01", "%"),
		end:    strings.ReplaceAll(percent[m[1]:], "\x01\x01", "%"),
		spec:   "%" + percent[m[2]:m[3]] + string(goVerb),
		verb:   verb,
	}, nil
}

var escapes = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\r`, "\r", `\"`, `"`, `\\`, `\`)

func (p *printf) columns() []string {
	cols := make([]string, len(p.pieces))
	for i, pc := range p.pieces {
		cols[i] = pc.expr
		if pc.verb == 'r' && bareName.MatchString(pc.expr) {
			cols[i] = "unparse(" + pc.expr + ")"
		}
	}
	return cols
}

func (p *printf) row(values []string) {
	p.buf = p.buf[:0]
	for i, pc := range p.pieces {
		p.buf = pc.append(p.buf, values[i])
	}
	p.w.Write(p.buf) // an error stays with the writer, until flush
}

func (p *printf) flush() error { return p.w.Flush() }

func (pc piece) append(b []byte, text string) []byte {
	if pc.verb == 0 {
		return append(b, pc.before...)
	}
	arg, ok := pc.argument(text)
	if !ok {
		return b
	}
	b = append(b, pc.before...)
	b = fmt.Appendf(b, pc.spec, arg)
	return append(b, pc.end...)
}

// argument gives a value as the type that the conversion prints.
func (pc piece) argument(text string) (any, bool) {
	switch pc.verb {
	case 'v':
		return string(appendPlain(nil, text)), true
	case 'r':
		if !bareName.MatchString(pc.expr) {
			return written(pc.expr), true
		}
		return unparsed(text), true
	case 'V':
		return quotedText(text), true
	}
	v := evaluate(text)
	if k := v.Kind(); k == classad.Undefined || k == classad.Error {
		return nil, false
	}
	if pc.verb == 's' {
		return string(appendPlain(nil, text)), true
	}
	num, ok := v.Real()
	switch {
	case !ok:
		return nil, false
	case pc.verb == 'T':
		return span(time.Duration(num) * time.Second), true
	case strings.IndexByte(realVerbs, pc.verb) >= 0:
		return num, true
	}
	whole, _ := v.Int()
	return whole, true
}
