package classad

import (
	"slices"
	"strconv"
	"strings"
)

// A string list is a string with fields between separators, as older attributes have it. Blanks
// around a field do not count, and empty fields are not there.

func init() {
	fold := func(name string, f func(fields []string) Value) builtin {
		return builtin{name: name, min: 1, max: 2, strict: func(_ *evaluator, args []Value) Value {
			seps, ok := separators(args, 1)
			if !ok || args[0].kind != String {
				return errorValue
			}
			return f(fieldsOf(args[0].text(), seps))
		}}
	}
	equal := func(a, b string) bool { return a == b }
	equalFold := func(a, b string) bool { return compareFold(a, b) == 0 }
	definePure(
		fold("stringListSize", func(fields []string) Value { return intValue(int64(len(fields))) }),
		fold("stringListSum", func(fields []string) Value { return foldNumbers(fields, realValue(0), opAdd) }),
		fold("stringListAvg", stringListAvg),
		fold("stringListMin", func(fields []string) Value { return foldNumbers(fields, undefinedValue, opLt) }),
		fold("stringListMax", func(fields []string) Value { return foldNumbers(fields, undefinedValue, opGt) }),
		allIn("stringListMember", false, equal),
		allIn("stringListIMember", false, equalFold),
		allIn("stringListSubsetMatch", true, equal),
		allIn("stringListISubsetMatch", true, equalFold),
		builtin{name: "stringListsIntersect", min: 2, max: 3, strict: intersect},
	)
}

const usualSeparators = " ,"

var usualSet = byteSet{' ': true, ',': true}

// separators is the argument at i, or the usual separators if there is none.
func separators(args []Value, i int) (string, bool) {
	if len(args) <= i {
		return usualSeparators, true
	}
	return args[i].text(), args[i].kind == String
}

func fieldsOf(s, seps string) []string {
	set := byteSetOf(seps)
	var fields []string
	for f, rest := nextField(s, set); f != ""; f, rest = nextField(rest, set) {
		fields = append(fields, f)
	}
	return fields
}

// nextField cuts the first field from a string list; "" if there is none.
func nextField(s string, set *byteSet) (field, rest string) {
	for s != "" && field == "" {
		i := 0
		for i < len(s) && !set[s[i]] {
			i++
		}
		field = strings.Trim(s[:i], " \t\n\v\f\r")
		s = s[min(i+1, len(s)):]
	}
	return field, s
}

// A byteSet has the separators of a list. Looking them up takes the same time however many they are.
type byteSet [256]bool

func byteSetOf(s string) *byteSet {
	if s == usualSeparators {
		return &usualSet
	}
	var set byteSet
	for i := range len(s) {
		set[s[i]] = true
	}
	return &set
}

// foldNumbers combines fields that are numbers by an operator: added, or the one that stands in the
// relation to all others. The result is real if one of them is.
func foldNumbers(fields []string, empty Value, o op) Value {
	if len(fields) == 0 {
		return empty
	}
	var result Value
	isReal := false
	for i, f := range fields {
		n, rest, ok := leadingReal(f)
		if !ok || rest != "" {
			return errorValue
		}
		v := realValue(n)
		if k, err := strconv.ParseInt(f, 10, 64); err == nil {
			v = intValue(k)
		}
		isReal = isReal || v.kind == Real
		switch {
		case i == 0:
			result = v
		case o == opAdd:
			result = operate(opAdd, result, v)
		case isTrue(operate(o, v, result)):
			result = v
		}
	}
	if isReal && result.kind == Integer {
		return realValue(result.number())
	}
	return result
}

func stringListAvg(fields []string) Value {
	total := foldNumbers(fields, realValue(0), opAdd)
	if len(fields) == 0 || total.kind == Error {
		return total
	}
	return operate(opDiv, total, intValue(int64(len(fields)))) // of integers an integer
}

// allIn tells whether the first argument is in the string list that is the second: itself or, for a
// set, all its fields.
func allIn(name string, set bool, equal func(a, b string) bool) builtin {
	return builtin{name: name, min: 2, max: 3, strict: func(ev *evaluator, args []Value) Value {
		seps, ok := separators(args, 2)
		if !ok {
			return errorValue
		}
		for _, v := range args[:2] {
			if v.kind != String && v.kind != Undefined {
				return errorValue
			}
		}
		if args[0].kind == Undefined {
			return boolValue(set) // the empty set is in any other
		}
		within := byteSetOf(seps)
		in := func(w string) bool {
			for f, rest := nextField(args[1].text(), within); f != ""; f, rest = nextField(rest, within) {
				if equal(f, w) {
					return true
				}
			}
			return false
		}
		if !set {
			return boolValue(in(args[0].text()))
		}
		for w, rest := nextField(args[0].text(), within); w != ""; w, rest = nextField(rest, within) {
			if !ev.spend(len(args[1].text())) {
				return errorValue
			}
			if !in(w) {
				return boolValue(false)
			}
		}
		return boolValue(true)
	}}
}

func intersect(_ *evaluator, args []Value) Value {
	seps, ok := separators(args, 2)
	switch {
	case worst(args...) <= Error:
		return nothing(worst(args...))
	case !ok || args[0].kind != String || args[1].kind != String:
		return errorValue
	}
	have := map[string]bool{}
	for _, f := range fieldsOf(args[0].text(), seps) {
		have[f] = true
	}
	return boolValue(slices.ContainsFunc(fieldsOf(args[1].text(), seps), func(f string) bool { return have[f] }))
}
