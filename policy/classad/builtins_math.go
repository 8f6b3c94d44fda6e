package classad

import (
	"math"
	"math/rand/v2"
)

func init() {
	whole := func(name string, f func(float64) float64) builtin {
		return builtin{name: name, min: 1, max: 1, strict: func(_ *evaluator, args []Value) Value {
			if args[0].kind == Integer {
				return args[0]
			}
			if x, ok := asReal(args[0]); ok {
				return intValue(truncate(f(x)))
			}
			return errorValue
		}}
	}
	define(
		whole("floor", math.Floor), whole("ceil", math.Ceil), whole("ceiling", math.Ceil),
		whole("round", math.RoundToEven),
		builtin{name: "pow", min: 2, max: 2, strict: power},
		builtin{name: "quantize", min: 2, max: 2, strict: quantize},
		builtin{name: "random", min: 0, max: 1, strict: random},
	)
}

func power(_ *evaluator, args []Value) Value {
	x, y := args[0], args[1]
	if x.kind == Integer && y.kind == Integer && y.int() >= 0 {
		return intValue(intPower(x.int(), y.int()))
	}
	a, okA := asReal(x)
	b, okB := asReal(y)
	if !okA || !okB {
		return errorValue
	}
	return realValue(math.Pow(a, b))
}

// intPower is exact; what does not fit becomes the smallest integer, as reals do when converted.
func intPower(x, y int64) int64 {
	switch x {
	case 0, 1:
		if y == 0 {
			return 1
		}
		return x
	case -1:
		return 1 - 2*(y&1)
	}
	r := int64(1)
	for ; y > 0; y-- { // at most 63 times
		if p := r * x; p/x == r {
			r = p
		} else {
			return math.MinInt64
		}
	}
	return r
}

// quantize rounds its first argument up to a multiple of the second, or to the first element of a
// list that is not smaller, or to a multiple of the list's last.
func quantize(ev *evaluator, args []Value) Value {
	x, base := args[0], args[1]
	if _, ok := asReal(x); !ok {
		return errorValue
	}
	if base.kind == List {
		list := base
		base = undefinedValue
		for _, e := range list.body().elems {
			base = ev.eval(e, list.body().sc)
			v, ok := asReal(base)
			if !ok {
				return errorValue
			}
			if f, _ := asReal(x); f <= v {
				return base
			}
		}
		if base.kind == Undefined { // an empty list
			return x
		}
	}
	if x.kind == Integer && base.kind == Integer {
		a, b := x.int(), base.int()
		if b == 0 {
			return x
		}
		return intValue(operate(opDiv, intValue(a+b-1), base).int() * b)
	}
	a, _ := asReal(x)
	b, ok := asReal(base)
	switch {
	case !ok:
		return errorValue
	case b == 0:
		return realValue(a)
	}
	return realValue(math.Ceil(a/b) * b)
}

func random(ev *evaluator, args []Value) Value {
	if len(args) == 0 {
		return realValue(rand.Float64())
	}
	switch v := args[0]; v.kind {
	case Integer:
		if v.int() <= 0 {
			return ev.fail()
		}
		return intValue(rand.Int64N(v.int()))
	case Real:
		if !(v.float() > 0) {
			return ev.fail()
		}
		return realValue(rand.Float64() * v.float())
	}
	return errorValue
}
