package classad

// A builtin is a function of the language. A call with another number of arguments gives error.
type builtin struct {
	name     string // as documented; case does not matter in a call
	min, max int    // number of arguments; max < 0: any number

	// strict is the body of a function that needs the values of all its arguments, which it may not
	// keep; lazy that of one that decides for itself what to evaluate. A builtin has one of the two.
	strict func(ev *evaluator, args []Value) Value
	lazy   func(ev *evaluator, sc *scope, args []node) Value

	// pure: the value depends on the arguments only, and is found quickly.
	pure bool

	// check, if set, looks at the arguments when a call is parsed. It may refuse them, or give the
	// constant that stands for the call.
	check func(args []node) (constant node, err error)
}

// anyNumber as the greatest number of arguments means that there is none.
const anyNumber = -1

// builtins are the functions by lower-case name. Each file of functions adds its own.
var builtins = map[string]*builtin{}

// builtinNamed returns nil if there is no such function.
func builtinNamed(name string) *builtin {
	return builtins[atomOf(name).Value().lower]
}

func definePure(fns ...builtin) {
	for i := range fns {
		fns[i].pure = true
	}
	define(fns...)
}

func define(fns ...builtin) {
	for i := range fns {
		builtins[lower(fns[i].name)] = &fns[i]
	}
}

func (f *builtin) eval(ev *evaluator, sc *scope, args []node) Value {
	if len(args) < f.min || f.max != anyNumber && len(args) > f.max {
		return errorValue
	}
	base := len(ev.stack)
	if f.lazy != nil {
		v := f.lazy(ev, sc, args)
		ev.release(base)
		return v
	}
	for _, a := range args {
		v := ev.eval(a, sc)
		if v.kind == String {
			ev.spend(len(v.text()))
		}
		if ev.failed() {
			return errorValue
		}
		ev.stack = append(ev.stack, v)
	}
	v := f.strict(ev, ev.stack[base:len(ev.stack):len(ev.stack)])
	ev.release(base)
	return v
}

// release takes from the stack what stands there from base on.
func (ev *evaluator) release(base int) {
	clear(ev.stack[base:])
	ev.stack = ev.stack[:base]
}

// worst returns Error if one of the values is an error, else Undefined if one is undefined, else
// another kind.
func worst(vals ...Value) Kind {
	k := Boolean
	for _, v := range vals {
		switch v.kind {
		case Error:
			return Error
		case Undefined:
			k = Undefined
		}
	}
	return k
}

// nothing is the value of a function that passes on its arguments' worst.
func nothing(k Kind) Value { return Value{kind: k} }

// elements evaluates the elements of a list. They stand on the stack until whoever wants them, or the
// function that does, releases them.
func (ev *evaluator) elements(list Value) []Value {
	if !ev.spend(16 * len(list.body().elems)) {
		return nil
	}
	base := len(ev.stack)
	for _, e := range list.body().elems {
		v := ev.eval(e, list.body().sc)
		ev.stack = append(ev.stack, v)
		if ev.failed() {
			break
		}
	}
	return ev.stack[base:len(ev.stack):len(ev.stack)]
}

// text pays for a string that a function made.
func (ev *evaluator) text(s string) Value {
	if len(s) > maxString || !ev.spend(len(s)) {
		return ev.fail()
	}
	return stringValue(s)
}

// list pays for a list that a function made.
func (ev *evaluator) list(vals []Value) Value {
	if len(vals) > maxList || !ev.spend(16*len(vals)) {
		return ev.fail()
	}
	return listOf(vals)
}

func (ev *evaluator) strings(items []string) Value {
	vals := make([]Value, len(items))
	for i, s := range items {
		vals[i] = stringValue(s)
	}
	return ev.list(vals)
}
