package classad

import (
	"math"
	"strconv"
	"strings"
)

func init() {
	is := func(name string, kind Kind) builtin {
		return builtin{name: name, min: 1, max: 1, strict: func(_ *evaluator, args []Value) Value {
			return boolValue(args[0].kind == kind)
		}}
	}
	definePure(
		is("isUndefined", Undefined), is("isError", Error), is("isString", String), is("isInteger", Integer),
		is("isReal", Real), is("isList", List), is("isClassAd", AdKind), is("isBoolean", Boolean),
		is("isAbsTime", AbsTime), is("isRelTime", RelTime),
		builtin{name: "int", min: 1, max: 1, strict: toInt},
		builtin{name: "real", min: 1, max: 1, strict: toReal},
		builtin{name: "string", min: 1, max: 1, strict: toString},
		builtin{name: "bool", min: 1, max: 1, strict: toBool},
	)
}

func toInt(_ *evaluator, args []Value) Value {
	v := args[0]
	switch v.kind {
	case Undefined, Integer:
		return v
	case String:
		if i, err := strconv.ParseInt(strings.TrimSpace(v.text()), 10, 64); err == nil {
			return intValue(i) // not through a real, which has but 53 bits
		}
	case AbsTime:
		return intValue(v.int())
	}
	if f, ok := asReal(v); ok {
		return intValue(truncate(f))
	}
	return errorValue
}

func toReal(_ *evaluator, args []Value) Value {
	if args[0].kind == Undefined {
		return undefinedValue
	}
	if f, ok := asReal(args[0]); ok {
		return realValue(f)
	}
	return errorValue
}

func toString(ev *evaluator, args []Value) Value {
	if args[0].kind <= Error {
		return args[0]
	}
	return ev.text(ev.asText(args[0]))
}

func toBool(_ *evaluator, args []Value) Value {
	v := args[0]
	switch v.kind {
	case Undefined:
		return v
	case String:
		switch lower(v.text()) {
		case "true":
			return boolValue(true)
		case "false":
			return boolValue(false)
		}
		return undefinedValue
	}
	if b, ok := v.Bool(); ok {
		return boolValue(b)
	}
	return errorValue
}

// asReal converts whatever has a numeric meaning, a string by the number it begins with.
func asReal(v Value) (float64, bool) {
	switch v.kind {
	case Boolean, Integer, Real:
		return v.number(), true
	case AbsTime:
		return float64(v.int()), true
	case RelTime:
		return v.float(), true
	case String:
		f, rest, ok := leadingReal(v.text())
		if ok && rest != "" {
			f *= sizeFactor(rest[0])
		}
		return f, ok
	}
	return 0, false
}

// sizeFactor is what a letter after a number multiplies it by: "2K" is 2048.
func sizeFactor(c byte) float64 {
	switch upperByte(c) {
	case 'K':
		return 1 << 10
	case 'M':
		return 1 << 20
	case 'G':
		return 1 << 30
	case 'T':
		return 1 << 40
	}
	return 1
}

// leadingReal reads the number at the beginning of s as C's strtod does: after white space, decimal
// or hexadecimal, or an infinity or NaN by name.
func leadingReal(s string) (f float64, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	i := 0
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	sign := 1.0
	if i > 0 && s[0] == '-' {
		sign = -1
	}
	body := s[i:]
	for _, name := range []string{"infinity", "inf", "nan"} {
		if len(body) >= len(name) && compareFold(body[:len(name)], name) == 0 {
			f = math.Inf(1)
			if name == "nan" {
				f = math.NaN()
			}
			return sign * f, body[len(name):], true
		}
	}
	digit, exp := isDigit, byte('e')
	n := 0
	hex := len(body) > 2 && body[0] == '0' && lowerByte(body[1]) == 'x' && isHex(body[2])
	if hex {
		digit, exp, n = isHex, 'p', 2
	}
	start, dots := n, 0
	for n < len(body) && (digit(body[n]) || body[n] == '.' && dots == 0) {
		if body[n] == '.' {
			dots++
		}
		n++
	}
	if n-start == dots { // no digits
		return 0, s, false
	}
	hasExp := false
	if n < len(body) && lowerByte(body[n]) == exp {
		m := n + 1
		if m < len(body) && (body[m] == '+' || body[m] == '-') {
			m++
		}
		for m < len(body) && isDigit(body[m]) {
			m++
			hasExp = true
		}
		if hasExp {
			n = m
		}
	}
	text := body[:n]
	if hex && !hasExp {
		text += "p0"
	}
	f, _ = strconv.ParseFloat(text, 64) // out of range gives an infinity
	return sign * f, body[n:], true
}

func isHex(c byte) bool {
	c = lowerByte(c)
	return isDigit(c) || 'a' <= c && c <= 'f'
}

// asText is how the string functions see a value: a string as it is, anything else printed.
func (ev *evaluator) asText(v Value) string {
	switch v.kind {
	case String:
		return v.text()
	case AbsTime:
		return formatAbsTime(v.int(), int(v.off))
	case RelTime:
		return formatRelTime(math.Trunc(v.float()))
	}
	s := v.String()
	ev.spend(len(s))
	return s
}
