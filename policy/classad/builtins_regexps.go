package classad

import "strings"

func init() {
	define(
		builtin{name: "regexp", min: 2, max: 3, strict: regexpMatch},
		builtin{name: "regexpMember", min: 2, max: 3, strict: regexpMember},
		builtin{name: "stringList_regexpMember", min: 2, max: 4, strict: stringListRegexpMember},
		builtin{name: "regexps", min: 3, max: 4, strict: func(ev *evaluator, args []Value) Value { return substitute(ev, args, "") }},
		builtin{name: "replace", min: 3, max: 4, strict: func(ev *evaluator, args []Value) Value { return substitute(ev, args, "f") }},
		builtin{name: "replaceall", min: 3, max: 4, strict: func(ev *evaluator, args []Value) Value { return substitute(ev, args, "fg") }},
	)
}

// optionsAt is the text of the argument at i, "" if there is none.
func optionsAt(args []Value, i int) string {
	if i < len(args) {
		return args[i].text()
	}
	return ""
}

// notStrings tells whether one of the values is no string, and what the function then gives.
func notStrings(vals ...Value) (instead Value, is bool) {
	if k := worst(vals...); k <= Error {
		return nothing(k), true
	}
	for _, v := range vals {
		if v.kind != String {
			return errorValue, true
		}
	}
	return Value{}, false
}

func regexpMatch(ev *evaluator, args []Value) Value {
	if instead, is := notStrings(args...); is {
		return instead
	}
	re, err := compileRegexp(args[0].text(), optionsAt(args, 2))
	if err != nil {
		return errorValue
	}
	return matchAny(ev, re, args[1].text())
}

// matchAny tells whether the pattern matches one of the texts.
func matchAny(ev *evaluator, re *regex, texts ...string) Value {
	for _, s := range texts {
		is, ok := re.matches(ev, s)
		if !ok {
			return ev.fail()
		}
		if is {
			return boolValue(true)
		}
	}
	return boolValue(false)
}

func regexpMember(ev *evaluator, args []Value) Value {
	list := args[1]
	if k := worst(args...); k <= Error {
		return nothing(k)
	}
	if instead, is := notStrings(append(args[2:len(args):len(args)], args[0])...); is {
		return instead
	}
	if list.kind != List {
		return errorValue
	}
	re, err := compileRegexp(args[0].text(), optionsAt(args, 2))
	if err != nil {
		return errorValue
	}
	result := boolValue(false)
	for _, e := range ev.elements(list) {
		switch e.kind {
		case Undefined:
			result = undefinedValue
		case String:
			if v := matchAny(ev, re, e.text()); v.kind == Error || v.bits != 0 {
				return v
			}
		default:
			return errorValue
		}
	}
	return result
}

// stringListRegexpMember gives undefined for an empty list.
func stringListRegexpMember(ev *evaluator, args []Value) Value {
	if _, is := notStrings(args...); is {
		return errorValue
	}
	seps, _ := separators(args, 2)
	re, err := compileRegexp(args[0].text(), optionsAt(args, 3))
	if err != nil {
		return errorValue
	}
	fields := fieldsOf(args[1].text(), seps)
	if len(fields) == 0 {
		return undefinedValue
	}
	return matchAny(ev, re, fields...)
}

// substitute replaces what a pattern matches. With the option f the result is the whole text, else
// what was put in; with g all matches are replaced, else the first.
func substitute(ev *evaluator, args []Value, options string) Value {
	if instead, is := notStrings(args...); is {
		return instead
	}
	options += optionsAt(args, 3)
	pattern, text, with := args[0].text(), args[1].text(), args[2].text()
	whole, global := strings.Contains(options, "f"), strings.Contains(options, "g")
	re, err := compileRegexp(pattern, options)
	if err != nil {
		return errorValue
	}
	matches, ok := re.find(ev, text, global)
	if !ok {
		return ev.fail()
	}
	var b strings.Builder
	last := 0
	for _, m := range matches {
		if m[0] == m[1] && len(matches) > 1 {
			return errorValue // HTCondor gives up on a pattern that matches nothing, again and again
		}
		if whole {
			b.WriteString(text[last:m[0]])
		}
		last = m[1]
		if !expand(&b, with, text, m) {
			return errorValue
		}
		if b.Len() > maxString {
			return ev.fail()
		}
	}
	if whole {
		b.WriteString(text[last:])
	}
	return ev.text(b.String())
}

// expand writes with, in which \0 to \9 stand for the groups of a match. It reports false for a group
// that the pattern does not have.
func expand(b *strings.Builder, with, text string, groups []int) bool {
	for i := 0; i < len(with); i++ {
		if with[i] != '\\' || i+1 == len(with) || !isDigit(with[i+1]) {
			b.WriteByte(with[i])
			continue
		}
		i++
		g := 2 * int(with[i]-'0')
		if g >= len(groups) {
			return false
		}
		if groups[g] >= 0 {
			b.WriteString(text[groups[g]:groups[g+1]])
		}
	}
	return true
}
