package classad

import (
	"slices"
	"strings"
)

func init() {
	define(
		builtin{name: "ifThenElse", min: 3, max: 3, lazy: func(ev *evaluator, sc *scope, args []node) Value {
			t := ternary{cond: args[0], yes: args[1], no: args[2]}
			return t.eval(ev, sc)
		}},
		builtin{name: "eval", min: 1, max: 1, lazy: evalText},
		builtin{name: "unparse", min: 1, max: 1, lazy: unparse},
		builtin{name: "unresolved", min: 1, max: 2, lazy: unresolved},
		builtin{name: "debug", min: 1, max: 1, strict: func(_ *evaluator, args []Value) Value { return args[0] }},
	)
}

// evalText evaluates a string as an expression where the call stands.
func evalText(ev *evaluator, sc *scope, args []node) Value {
	v := ev.eval(args[0], sc)
	switch v.kind {
	case Undefined:
		return errorValue
	case String:
		if !ev.spend(16 * len(v.text())) { // parsing costs about a step per byte
			return errorValue
		}
		e, err := ParseExpr(v.text())
		if err != nil {
			return errorValue
		}
		return ev.follow(slotOf(e), sc)
	}
	return v
}

// unparse prints the expression of an attribute of the ad around the call.
func unparse(ev *evaluator, sc *scope, args []node) Value {
	ref, ok := args[0].(*attrRef)
	if !ok {
		return errorValue
	}
	if ref.base != nil {
		return stringValue("") // HTCondor looks at bare names only
	}
	e, _ := ref.expression(ev, sc)
	if e == nil {
		return stringValue("")
	}
	p := printer{condor: true, pretty: true}
	e.root.print(&p)
	return ev.text(p.String())
}

// unresolved lists the attributes that the expression of an attribute needs from elsewhere or, with a
// pattern, tells whether one of them matches it.
func unresolved(ev *evaluator, sc *scope, args []node) Value {
	ref, ok := args[0].(*attrRef)
	if !ok {
		return errorValue
	}
	e, where := ref.expression(ev, sc)
	if e == nil {
		return undefinedValue
	}
	c := refCollector{seen: map[refKey]bool{}, my: where.ad}
	refs := c.collect(e.root)
	if !ev.spend(16 * len(c.seen)) {
		return errorValue
	}
	// Bare names and those with TARGET are sorted together, by their full spelling.
	names := refs.Target
	full := func(name string) string {
		if c.bare[atomOf(name)] {
			return name
		}
		return "target." + name
	}
	slices.SortFunc(names, func(a, b string) int { return compareFold(full(a), full(b)) })
	if len(args) == 1 {
		return ev.text(strings.Join(names, ","))
	}
	pattern := ev.eval(args[1], sc)
	if pattern.kind != String {
		if pattern.kind == Undefined {
			return pattern
		}
		return errorValue
	}
	re, err := compileRegexp(pattern.text(), "i")
	if err != nil {
		return errorValue
	}
	for _, name := range names {
		if m, ok := re.find(ev, name, false); !ok {
			return ev.fail()
		} else if m != nil {
			return boolValue(true)
		}
	}
	return boolValue(false)
}
