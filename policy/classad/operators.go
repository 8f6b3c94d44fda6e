package classad

import "math"

func (n *unary) eval(ev *evaluator, sc *scope) Value {
	x := ev.eval(n.x, sc)
	if x.kind <= Error {
		return x
	}
	switch n.op {
	case opNot:
		if b, ok := x.Bool(); ok {
			return boolValue(!b)
		}
	case opCompl:
		if x.kind == Integer {
			return intValue(^x.int())
		}
	case opAdd:
		if x.kind == Integer || x.kind == Real || x.kind == RelTime {
			return x
		}
	case opSub:
		switch x.kind {
		case Integer:
			return intValue(-x.int())
		case Real:
			return realValue(-x.float())
		case RelTime:
			return relValue(-x.float())
		}
	}
	return errorValue
}

func (n *binary) eval(ev *evaluator, sc *scope) Value {
	if n.op == opAnd || n.op == opOr {
		return n.logic(ev, sc)
	}
	x, y := ev.eval(n.x, sc), ev.eval(n.y, sc)
	if x.kind == String && y.kind == String {
		ev.spend(min(len(x.text()), len(y.text())))
	}
	if n.op == opIs || n.op == opIsnt {
		return identical(x, y, n.op == opIs)
	}
	return operate(n.op, x, y)
}

// logic is three-valued: what is not known does not matter if the other side decides.
func (n *binary) logic(ev *evaluator, sc *scope) Value {
	decisive := n.op == opOr // the value of either side that settles the matter
	x := ev.eval(n.x, sc)
	b, ok := x.Bool()
	if ok && b == decisive {
		return boolValue(b)
	}
	if !ok && x.kind != Undefined {
		return errorValue
	}
	y := ev.eval(n.y, sc)
	c, ok := y.Bool()
	switch {
	case ok && c == decisive:
		return boolValue(c)
	case !ok && y.kind != Undefined:
		return errorValue
	case x.kind == Undefined || y.kind == Undefined:
		return undefinedValue
	}
	return boolValue(!decisive)
}

// operate applies the strict binary operators, those that need both sides.
func operate(o op, x, y Value) Value {
	switch {
	case x.kind == Error || y.kind == Error:
		return errorValue
	case x.kind == Undefined || y.kind == Undefined:
		return undefinedValue
	case o >= opEq && o <= opGe:
		return compare(o, x, y)
	case o >= opAdd && o <= opMod:
		return arithmetic(o, x, y)
	}
	return bitwise(o, x, y)
}

func bitwise(o op, x, y Value) Value {
	if x.kind != Integer || y.kind != Integer {
		return errorValue
	}
	a, b := x.int(), y.int()
	switch o {
	case opBitOr:
		return intValue(a | b)
	case opBitXor:
		return intValue(a ^ b)
	case opBitAnd:
		return intValue(a & b)
	case opShl: // distances count modulo 64, as the processor takes them
		return intValue(a << (b & 63))
	case opShr:
		return intValue(a >> (b & 63))
	case opUshr:
		if a >= 0 {
			return intValue(a >> (b & 63))
		}
		// The sign is masked out after an arithmetic shift; for a distance of 0 that takes all bits.
		return intValue((a >> (b & 63)) &^ (math.MinInt64 >> ((b - 1) & 63)))
	}
	return errorValue
}

func arithmetic(o op, x, y Value) Value {
	if x.kind >= AbsTime || y.kind >= AbsTime {
		return timeArithmetic(o, x, y)
	}
	if !x.isNumber() || !y.isNumber() {
		return errorValue
	}
	if x.kind == Real || y.kind == Real {
		return realArithmetic(o, x.number(), y.number())
	}
	a, b := x.int(), y.int()
	switch o {
	case opAdd:
		return intValue(a + b)
	case opSub:
		return intValue(a - b)
	case opMul:
		return intValue(a * b)
	case opDiv:
		if b == 0 {
			return errorValue
		}
		if a == math.MinInt64 && b == -1 {
			return intValue(math.MaxInt64)
		}
		return intValue(a / b)
	case opMod:
		if b == 0 {
			return errorValue
		}
		return intValue(a % b)
	}
	return errorValue
}

func realArithmetic(o op, a, b float64) Value {
	var r float64
	switch o {
	case opAdd:
		r = a + b
	case opSub:
		r = a - b
	case opMul:
		r = a * b
	case opDiv:
		r = a / b
	default:
		return errorValue
	}
	if math.IsInf(r, 1) { // only beyond the upper end; minus infinity passes
		return errorValue
	}
	return realValue(r)
}

// compare orders numbers and times by size, strings without regard to case.
func compare(o op, x, y Value) Value {
	var less, equal bool
	switch {
	case x.kind == String && y.kind == String:
		if o <= opNe && x.bits != y.bits { // of different lengths
			return boolValue(o == opNe)
		}
		if a, b := x.text(), y.text(); a == b {
			equal = true
		} else {
			c := compareFold(a, b)
			less, equal = c < 0, c == 0
		}
	case x.isNumber() && y.isNumber():
		if x.kind == Real || y.kind == Real {
			a, b := x.number(), y.number()
			if a != a || b != b {
				return boolValue(o == opNe)
			}
			less, equal = a < b, a == b
		} else {
			less, equal = x.int() < y.int(), x.int() == y.int()
		}
	case x.kind == AbsTime && y.kind == AbsTime:
		less, equal = x.int() < y.int(), x.int() == y.int()
	case x.kind == RelTime && y.kind == RelTime:
		less, equal = x.float() < y.float(), x.float() == y.float()
	default:
		return errorValue
	}
	switch o {
	case opEq:
		return boolValue(equal)
	case opNe:
		return boolValue(!equal)
	case opLt:
		return boolValue(less)
	case opLe:
		return boolValue(less || equal)
	case opGt:
		return boolValue(!less && !equal)
	case opGe:
		return boolValue(!less)
	}
	return errorValue
}

// identical is =?= or, if want is false, =!=: the same kind and the same value, and never undefined.
// Lists and ads cannot be compared with their like.
func identical(x, y Value, want bool) Value {
	if x.kind != y.kind {
		return boolValue(!want)
	}
	switch x.kind {
	case List, AdKind:
		return errorValue
	case Real, RelTime:
		return boolValue((x.float() == y.float()) == want)
	case String:
		return boolValue((x.text() == y.text()) == want)
	}
	return boolValue((x.bits == y.bits && x.off == y.off) == want)
}
