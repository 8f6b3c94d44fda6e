package classad

func init() {
	definePure(
		builtin{name: "member", min: 2, max: 2, strict: member},
		builtin{name: "identicalMember", min: 2, max: 2, strict: identicalMember},
		builtin{name: "size", min: 1, max: 1, strict: size},
		builtin{name: "sum", min: 1, max: 1, strict: sum},
		builtin{name: "avg", min: 1, max: 1, strict: average},
		builtin{name: "min", min: 1, max: 1, strict: func(ev *evaluator, args []Value) Value { return extreme(ev, args[0], opLt) }},
		builtin{name: "max", min: 1, max: 1, strict: func(ev *evaluator, args []Value) Value { return extreme(ev, args[0], opGt) }},
		builtin{name: "anyCompare", min: 3, max: 3, strict: func(ev *evaluator, args []Value) Value { return compareEach(ev, args, true) }},
		builtin{name: "allCompare", min: 3, max: 3, strict: func(ev *evaluator, args []Value) Value { return compareEach(ev, args, false) }},
		builtin{name: "countMatches", min: 2, max: 2, lazy: countMatches},
		builtin{name: "evalInEachContext", min: 2, max: 2, lazy: evalInEachContext},
	)
}

// isTrue reports whether v is the boolean true, and no number.
func isTrue(v Value) bool { return v.kind == Boolean && v.bits != 0 }

func member(ev *evaluator, args []Value) Value {
	x, list := args[0], args[1]
	switch {
	case worst(args...) <= Error:
		return nothing(worst(args...))
	case list.kind != List || x.kind == List || x.kind == AdKind:
		return errorValue
	}
	for _, e := range ev.elements(list) {
		if isTrue(operate(opEq, x, e)) {
			return boolValue(true)
		}
	}
	return boolValue(false)
}

func identicalMember(ev *evaluator, args []Value) Value {
	x, list := args[0], args[1]
	switch {
	case list.kind == Undefined:
		return undefinedValue
	case list.kind != List || x.kind == List || x.kind == AdKind:
		return errorValue
	}
	for _, e := range ev.elements(list) {
		if isTrue(identical(x, e, true)) {
			return boolValue(true)
		}
	}
	return boolValue(false)
}

func size(_ *evaluator, args []Value) Value {
	switch v := args[0]; v.kind {
	case Undefined:
		return v
	case String:
		return intValue(int64(len(v.text())))
	case List:
		return intValue(int64(len(v.body().elems)))
	case AdKind:
		return intValue(int64(v.body().sc.ad.Len()))
	}
	return errorValue
}

// numbers evaluates a list of numbers, leaving out what is undefined. If v is not such a list,
// instead is the function's value.
func numbers(ev *evaluator, v Value) (nums []Value, instead Value, ok bool) {
	if v.kind != List {
		if v.kind == Undefined {
			return nil, v, false
		}
		return nil, errorValue, false
	}
	for _, e := range ev.elements(v) {
		switch {
		case e.kind == Undefined:
		case !e.isNumber():
			return nil, errorValue, false
		default:
			nums = append(nums, e)
		}
	}
	return nums, Value{}, true
}

func sum(ev *evaluator, args []Value) Value {
	nums, instead, ok := numbers(ev, args[0])
	if !ok {
		return instead
	}
	total := intValue(0)
	for _, n := range nums {
		total = operate(opAdd, total, n)
	}
	return total
}

func average(ev *evaluator, args []Value) Value {
	nums, instead, ok := numbers(ev, args[0])
	if !ok {
		return instead
	}
	if len(nums) == 0 {
		return intValue(0)
	}
	total := realValue(0)
	for _, n := range nums {
		total = operate(opAdd, total, n)
	}
	return operate(opDiv, total, intValue(int64(len(nums))))
}

// extreme finds the number that stands in the relation o to all others. It is real if one of them is.
func extreme(ev *evaluator, list Value, o op) Value {
	nums, instead, ok := numbers(ev, list)
	if !ok {
		return instead
	}
	if len(nums) == 0 {
		return undefinedValue
	}
	best, isReal := nums[0], false
	for _, n := range nums {
		if isTrue(operate(o, n, best)) {
			best = n
		}
		isReal = isReal || n.kind == Real
	}
	if isReal {
		return realValue(best.number())
	}
	return intValue(best.int())
}

// comparisons are the operators that anyCompare and allCompare know.
var comparisons = map[string]op{
	"<": opLt, "<=": opLe, "==": opEq, "!=": opNe, ">=": opGe, ">": opGt, "is": opIs, "isnt": opIsnt,
}

// compareEach compares the elements of a list with a value until one is in the relation and decides
// for any, or one is not and decides for all. A comparison that is undefined settles it too: false.
func compareEach(ev *evaluator, args []Value, any bool) Value {
	name, list, x := args[0], args[1], args[2]
	if worst(name, list) <= Error {
		return nothing(worst(name, list))
	}
	o, known := comparisons[lower(name.text())]
	if name.kind != String || !known || list.kind != List || x.kind == List || x.kind == AdKind {
		return errorValue
	}
	for _, e := range ev.elements(list) {
		var v Value
		switch o {
		case opIs, opIsnt:
			v = identical(e, x, o == opIs)
		default:
			v = operate(o, e, x)
		}
		switch v.kind {
		case Error:
			return errorValue
		case Undefined:
			return boolValue(false)
		}
		if isTrue(v) == any {
			return boolValue(any)
		}
	}
	return boolValue(!any)
}

// inEachContext evaluates args[0] in each of the ads of the list args[1]. If args[0] is an attribute
// that exists where the call stands, its expression is meant.
func inEachContext(ev *evaluator, sc *scope, args []node) (vals []Value, list Value) {
	list = ev.eval(args[1], sc)
	if list.kind != List {
		return nil, list
	}
	expr := &Expr{root: args[0]}
	if ref, ok := args[0].(*attrRef); ok {
		if e, _ := ref.expression(ev, sc); e != nil {
			expr = e
		}
	}
	for _, e := range ev.elements(list) {
		if e.kind != AdKind {
			vals = append(vals, errorValue)
			continue
		}
		vals = append(vals, ev.follow(slotOf(expr), e.body().sc))
		if ev.failed() {
			break
		}
	}
	return vals, list
}

func countMatches(ev *evaluator, sc *scope, args []node) Value {
	vals, list := inEachContext(ev, sc, args)
	if list.kind != List && list.kind != Undefined {
		return errorValue
	}
	n := int64(0)
	for _, v := range vals {
		if v.IsTrue() {
			n++
		}
	}
	return intValue(n)
}

func evalInEachContext(ev *evaluator, sc *scope, args []node) Value {
	vals, list := inEachContext(ev, sc, args)
	switch list.kind {
	case List:
		return ev.list(vals)
	case Undefined:
		return list
	}
	return errorValue
}
