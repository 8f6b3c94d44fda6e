package classad

import (
	"math"
	"strings"
	"unsafe"
)

// Kind says what sort of thing a [Value] is.
type Kind uint8

// The kinds of value. The zero Value is undefined.
const (
	Undefined Kind = iota // a name is not bound, or something depends on one that is not
	Error                 // types clash, or a function does not accept its arguments
	Boolean
	Integer // 64 bits, wraps around
	Real
	String  // bytes; usually, but not necessarily, UTF-8
	List    // its elements are evaluated when they are asked for
	AdKind  // a nested ad
	AbsTime // seconds since 1970 UTC, with an offset from UTC for display
	RelTime // seconds

	unevaluated // not a value: the slot of an ad holds an *Expr
)

var kindNames = [...]string{
	Undefined: "undefined", Error: "error", Boolean: "boolean", Integer: "integer", Real: "real",
	String: "string", List: "list", AdKind: "classad", AbsTime: "abstime", RelTime: "reltime",
}

func (k Kind) String() string { return kindNames[k] }

// A Value is what an expression evaluates to. Values are small and are passed by value.
//
// It has 24 bytes, which is what an attribute costs and what fits in registers. For that the length of
// a string stands apart from its bytes, and one pointer serves all kinds; text, body and expr below
// are the only places that look behind it.
type Value struct {
	kind Kind
	off  int32  // AbsTime: seconds east of UTC
	bits uint64 // Boolean, Integer, Real, AbsTime, RelTime; String: the length
	ptr  unsafe.Pointer
}

// compound is the body of a list or an ad value, and the scope in which its expressions are read.
type compound struct {
	elems []node // List
	sc    *scope // List: around the elements, may be nil; AdKind: the ad itself
}

var (
	undefinedValue = Value{}
	errorValue     = Value{kind: Error}
)

func boolValue(b bool) Value {
	if b {
		return Value{kind: Boolean, bits: 1}
	}
	return Value{kind: Boolean}
}

func intValue(i int64) Value    { return Value{kind: Integer, bits: uint64(i)} }
func realValue(f float64) Value { return Value{kind: Real, bits: math.Float64bits(f)} }
func relValue(f float64) Value  { return Value{kind: RelTime, bits: math.Float64bits(f)} }

func stringValue(s string) Value {
	return Value{kind: String, bits: uint64(len(s)), ptr: unsafe.Pointer(unsafe.StringData(s))}
}

func adValue(sc *scope) Value {
	return Value{kind: AdKind, ptr: unsafe.Pointer(&compound{sc: sc})}
}

// slotOf is how an ad keeps an expression.
func slotOf(e *Expr) Value {
	if lit, ok := e.tree().(*literal); ok {
		return lit.v
	}
	return Value{kind: unevaluated, ptr: unsafe.Pointer(e)}
}

func absValue(secs int64, east int32) Value {
	return Value{kind: AbsTime, bits: uint64(secs), off: east}
}

func listValue(elems []node, sc *scope) Value {
	return Value{kind: List, ptr: unsafe.Pointer(&compound{elems: elems, sc: sc})}
}

// listOf makes a list of values that are already known.
func listOf(vals []Value) Value {
	elems := make([]node, len(vals))
	for i, v := range vals {
		elems[i] = &literal{v: v}
	}
	return listValue(elems, nil)
}

// Kind tells what sort of value v is.
func (v Value) Kind() Kind { return v.kind }

// IsTrue reports whether v is a yes: the boolean true or a number other than zero, as Requirements
// and policy expressions count it. Undefined, error and everything else are not.
func (v Value) IsTrue() bool {
	b, ok := v.Bool()
	return ok && b
}

// Bool returns v as a boolean; a number counts as true unless it is zero.
func (v Value) Bool() (b, ok bool) {
	switch v.kind {
	case Boolean, Integer:
		return v.bits != 0, true
	case Real:
		return v.float() != 0, true
	}
	return false, false
}

// Int returns v as an integer: a boolean is 1 or 0, a real loses its fraction.
func (v Value) Int() (int64, bool) {
	switch v.kind {
	case Boolean, Integer:
		return int64(v.bits), true
	case Real:
		return truncate(v.float()), true
	}
	return 0, false
}

// Real returns v, an integer, real or boolean, as a real.
func (v Value) Real() (float64, bool) {
	switch v.kind {
	case Boolean, Integer:
		return float64(int64(v.bits)), true
	case Real:
		return v.float(), true
	}
	return 0, false
}

// Str returns the bytes of a string value, without quotes.
func (v Value) Str() (string, bool) { return v.text(), v.kind == String }

// Time returns an absolute time as seconds since 1970 UTC and its offset, in seconds east of UTC.
func (v Value) Time() (secs int64, east int, ok bool) {
	if v.kind != AbsTime {
		return 0, 0, false
	}
	return int64(v.bits), int(v.off), true
}

// Seconds returns the length of a relative time.
func (v Value) Seconds() (float64, bool) {
	if v.kind != RelTime {
		return 0, false
	}
	return v.float(), true
}

// List evaluates the elements of a list. If that goes beyond the limits, the rest are errors.
func (v Value) List() ([]Value, bool) {
	if v.kind != List {
		return nil, false
	}
	ev := &evaluator{steps: maxSteps + len(v.body().elems)}
	out := make([]Value, len(v.body().elems))
	for i, e := range v.body().elems {
		out[i] = ev.eval(e, v.body().sc)
	}
	return out, true
}

// Ad returns a copy of an ad value. Its expressions no longer see the ads that it was nested in.
func (v Value) Ad() (*Ad, bool) {
	if v.kind != AdKind {
		return nil, false
	}
	return v.body().sc.ad.Clone(), true
}

// String prints v in the new syntax as HTCondor does, strings with their quotes. Reals have 16 digits.
func (v Value) String() string {
	p := printer{condor: true}
	p.value(v)
	return p.String()
}

// OldString is like String, in the old syntax.
func (v Value) OldString() string {
	p := printer{condor: true, old: true}
	p.value(v)
	return p.String()
}

// text is the bytes of a string; "" if v is none.
func (v Value) text() string {
	if v.kind != String {
		return ""
	}
	return unsafe.String((*byte)(v.ptr), int(v.bits))
}

// body is that of a list or an ad.
func (v Value) body() *compound { return (*compound)(v.ptr) }

// expr is the expression in the slot of an ad.
func (v Value) expr() *Expr {
	if v.kind == unevaluated {
		return (*Expr)(v.ptr)
	}
	return literalExpr(v)
}

func (v Value) int() int64     { return int64(v.bits) }
func (v Value) float() float64 { return math.Float64frombits(v.bits) }

// isNumber reports whether v takes part in arithmetic.
func (v Value) isNumber() bool { return v.kind >= Boolean && v.kind <= Real }

// number is v, which isNumber, as a real.
func (v Value) number() float64 {
	if v.kind == Real {
		return v.float()
	}
	return float64(v.int())
}

// truncate converts as x86 does: what does not fit becomes the smallest integer.
func truncate(f float64) int64 {
	if f >= -9223372036854775808.0 && f < 9223372036854775808.0 {
		return int64(f)
	}
	return math.MinInt64
}

// compareFold orders strings byte by byte without regard to the case of ASCII letters.
func compareFold(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := lowerByte(a[i]), lowerByte(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func upperByte(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// lower is strings.ToLower for ASCII alone: names and the language's functions know no other case.
func lower(s string) string { return mapBytes(s, lowerByte) }

func upper(s string) string { return mapBytes(s, upperByte) }

func mapBytes(s string, f func(byte) byte) string {
	for i := range len(s) {
		if f(s[i]) == s[i] {
			continue
		}
		var b strings.Builder
		b.Grow(len(s))
		b.WriteString(s[:i])
		for ; i < len(s); i++ {
			b.WriteByte(f(s[i]))
		}
		return b.String()
	}
	return s
}
