package submitfile

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"skua/policy/classad"
)

// function computes a macro such as $INT(n,%03d) from what stands between its parentheses. An
// argument that names a macro stands for that one's value.
type function func(x *expander, body string) (string, error)

// functions are the macros with a name before the parenthesis; the $F family is in filename.go.
var functions map[string]function

func init() { // not an initialiser: the functions expand macros, which looks into the map
	functions = map[string]function{
		"ENV":            envFunction,
		"INT":            intFunction,
		"REAL":           realFunction,
		"STRING":         stringFunction,
		"EVAL":           evalFunction,
		"SUBSTR":         substrFunction,
		"CHOICE":         choiceFunction,
		"RANDOM_CHOICE":  randomChoiceFunction,
		"RANDOM_INTEGER": randomIntegerFunction,
		"DIRNAME":        filenameFunction("p"),
		"BASENAME":       filenameFunction("nx"),
	}
}

func isFunction(name string) bool {
	return functions[name] != nil || isFilenameFunction(name)
}

func (x *expander) call(name, body string) (string, error) {
	fn := functions[name]
	if fn == nil {
		fn = filenameFunction(name[1:])
	}
	if strings.Contains(body, "$(") {
		// The first parenthesis ends the function, and this one belongs to the macro within.
		hint := fmt.Sprintf("write $%s(NAME) without a $, or give the whole a name first: v = ... and $%s(v)", name, name)
		if err := x.d.refuse(x.at, hint, "a macro cannot stand within the parentheses of $%s(%s)", name, clip(body)); err != nil {
			return "", err
		}
	}
	return fn(x, body)
}

func (x *expander) bad(format string, args ...any) error {
	return problem(x.at, "", format, args...)
}

// evaluate computes the value of an argument as an expression.
func (x *expander) evaluate(fn, arg, text string) (classad.Value, error) {
	e, err := classad.ParseOldExpr(text)
	if err != nil {
		return classad.Value{}, x.bad("$%s(%s): %q is not an expression: %w", fn, clip(arg), clip(text), err)
	}
	return e.Eval(classad.NewAd(), nil), nil
}

func (x *expander) number(fn, arg string) (float64, error) {
	text, _, err := x.valueOf(arg)
	if err != nil {
		return 0, err
	}
	f, ok := plainReal(text)
	if !ok {
		v, err := x.evaluate(fn, arg, text)
		if err != nil {
			return 0, err
		}
		if f, ok = realOf(v); !ok {
			return 0, x.bad("$%s(%s): %q is not a number", fn, clip(arg), clip(text))
		}
	}
	return f, x.numbered(fn, text, "")
}

func (x *expander) integer(fn, arg string) (int64, error) {
	text, _, err := x.valueOf(arg)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64) // with zeros before it, too
	if err != nil {
		v, err := x.evaluate(fn, arg, text)
		if err != nil {
			return 0, err
		}
		var ok bool
		if n, ok = integerOf(v); !ok {
			return 0, x.bad("$%s(%s): %q is not an integer", fn, clip(arg), clip(text))
		}
	}
	return n, x.numbered(fn, text, itoa64(n))
}

// plainReal reads a number as C does: with zeros before it, in hexadecimal, or infinite.
func plainReal(text string) (float64, bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	if strings.Contains(text, "0x") && !strings.Contains(text, "p") {
		text += "p0"
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// integerOf takes a value for an integer as HTCondor does: a real without its fraction, true as 1.
func integerOf(v classad.Value) (int64, bool) {
	switch v.Kind() {
	case classad.Integer:
		n, _ := v.Int()
		return n, true
	case classad.Boolean:
		b, _ := v.Bool()
		if b {
			return 1, true
		}
		return 0, true
	case classad.Real:
		f, _ := v.Real()
		return int64(f), math.Abs(f) < 1<<62
	}
	return 0, false
}

func realOf(v classad.Value) (float64, bool) {
	if v.Kind() == classad.Boolean {
		n, ok := integerOf(v)
		return float64(n), ok
	}
	f, ok := v.Real()
	return f, ok && (v.Kind() == classad.Integer || v.Kind() == classad.Real)
}

// numbered refuses to compute with the number that stands for the cluster's while that is not known,
// unless the result is just the same.
func (x *expander) numbered(fn, text, result string) error {
	if strings.Contains(text, standIn) && result != standIn && x.d.numberless {
		return problem(x.at, "write an expression over ClusterId that is evaluated later, as in $$([ClusterId % 10]), or use $(Process)",
			"$%s() cannot compute with $(Cluster), which has no number before the job is queued", fn)
	}
	return nil
}

func envFunction(x *expander, body string) (string, error) {
	name, other, hasDefault := strings.Cut(body, ":")
	if v, ok := x.d.env[name]; ok {
		return v, nil
	}
	if hasDefault {
		return other, nil
	}
	return "UNDEFINED", nil
}

func intFunction(x *expander, body string) (string, error) {
	arg, format, formatted := strings.Cut(body, ",")
	n, err := x.integer("INT", arg)
	if err != nil || !formatted {
		return itoa64(n), err
	}
	f, err := x.format("INT", format, "diouxXc")
	if err != nil {
		return "", err
	}
	out := f.integer(n)
	if out != standIn {
		err = x.numbered("INT", itoa64(n), out)
	}
	return out, err
}

func realFunction(x *expander, body string) (string, error) {
	arg, format, formatted := strings.Cut(body, ",")
	r, err := x.number("REAL", arg)
	if err != nil {
		return "", err
	}
	if !formatted {
		return strings.TrimPrefix(strings.ToUpper(fmt.Sprintf("%.16G", r)), "+"), nil
	}
	f, err := x.format("REAL", format, "fFeEgG")
	if err != nil {
		return "", err
	}
	return f.real(r), nil
}

func stringFunction(x *expander, body string) (string, error) {
	arg, format, formatted := strings.Cut(body, ",")
	text, _, err := x.valueOf(arg)
	if err != nil {
		return "", err
	}
	if e, err := classad.ParseOldExpr(text); err == nil {
		if s, ok := e.Eval(classad.NewAd(), nil).Str(); ok {
			text = s
		}
	}
	if !formatted {
		return text, nil
	}
	f, err := x.format("STRING", format, "s")
	if err != nil {
		return "", err
	}
	return f.string(text), nil
}

func evalFunction(x *expander, body string) (string, error) {
	text, _, err := x.valueOf(body)
	if err != nil {
		return "", err
	}
	e, err := classad.ParseOldExpr(text)
	if err != nil {
		if err := x.d.refuse(x.at, "", "$EVAL(%s): %q is not an expression: %w", clip(body), clip(text), err); err != nil {
			return "", err
		}
		if strings.Contains(body, "$") {
			return text, nil
		}
		return "", nil
	}
	v := e.Eval(classad.NewAd(), nil)
	switch v.Kind() {
	case classad.String:
		s, _ := v.Str()
		return s, nil
	case classad.Real, classad.RelTime:
		f, _ := v.Real()
		return fmt.Sprintf("%.15E", f), x.numbered("EVAL", text, "")
	case classad.Integer:
		return v.String(), x.numbered("EVAL", text, v.String())
	}
	return v.String(), nil
}

func substrFunction(x *expander, body string) (string, error) {
	name, rest, ok := strings.Cut(body, ",")
	if !ok {
		return "", x.bad("$SUBSTR(%s) takes a macro's name, a start and perhaps a length", clip(body))
	}
	text, named, err := x.valueOf(name)
	if err != nil {
		return "", err
	}
	if !named {
		text = ""
	}
	from, length, limited := strings.Cut(rest, ",")
	start, err := x.integer("SUBSTR", from)
	if err != nil {
		return "", err
	}
	size := int64(len(text))
	if start < 0 {
		start += size
	}
	start = max(0, min(start, size))
	end := size
	if limited {
		n, err := x.integer("SUBSTR", length)
		if err != nil {
			return "", err
		}
		if n < 0 { // leave off that many at the end
			end = size + max(n, -size)
		} else {
			end = start + min(n, size)
		}
	}
	end = max(start, min(end, size))
	return text[start:end], x.numbered("SUBSTR", text, text[start:end])
}

func choiceFunction(x *expander, body string) (string, error) {
	args := words(body, ",")
	if len(args) < 2 {
		return "", x.bad("$CHOICE(%s) takes an index and a list", clip(body))
	}
	i, err := x.integer("CHOICE", args[0])
	if err != nil {
		return "", err
	}
	if err := x.numbered("CHOICE", itoa64(i), ""); err != nil {
		return "", err
	}
	items := args[1:]
	if len(items) == 1 {
		list, named, err := x.valueOf(items[0])
		if err != nil {
			return "", err
		}
		if !named {
			return "", x.bad("$CHOICE(%s): there is no list %s", clip(body), clip(items[0]))
		}
		items = words(list, ",")
	}
	if i < 0 || i >= int64(len(items)) {
		return "", x.bad("$CHOICE(): index %d is outside its list of %d items, which count from 0", i, len(items))
	}
	return items[i], nil
}

func randomChoiceFunction(x *expander, body string) (string, error) {
	items := words(body, ",")
	if len(items) == 1 {
		list, named, err := x.valueOf(items[0])
		if err != nil {
			return "", err
		}
		if named {
			items = words(list, ", \t")
		}
	}
	if len(items) == 0 {
		return "", x.bad("$RANDOM_CHOICE(%s) has nothing to choose from", clip(body))
	}
	return items[x.pick(uint64(len(items)))], nil
}

func randomIntegerFunction(x *expander, body string) (string, error) {
	args := words(body, ",")
	if len(args) < 2 || len(args) > 3 {
		return "", x.bad("$RANDOM_INTEGER(%s) takes a smallest and a largest number and perhaps a step", clip(body))
	}
	n := [3]int64{2: 1}
	for i, a := range args {
		digits := 0
		for digits < len(a) && (isDigit(a[digits]) || digits == 0 && (a[0] == '-' || a[0] == '+')) {
			digits++
		}
		v, err := strconv.ParseInt(a[:digits], 10, 64)
		if err != nil {
			return "", x.bad("$RANDOM_INTEGER(%s): %q is not an integer", clip(body), clip(a))
		}
		if digits < len(a) {
			if err := x.d.refuse(x.at, "write the number itself", "$RANDOM_INTEGER(%s): %q is not an integer", clip(body), clip(a)); err != nil {
				return "", err
			}
		}
		n[i] = v
	}
	low, high, step := n[0], n[1], n[2]
	if step < 1 || low > high || high-low < 0 {
		return "", x.bad("$RANDOM_INTEGER(%s): from %d to %d in steps of %d holds no number", clip(body), low, high, step)
	}
	choices := uint64(high-low)/uint64(step) + 1
	return itoa64(low + int64(x.pick(choices))*step), nil
}

func (x *expander) pick(n uint64) uint64 {
	if x.random == nil { // where a line is decided while the file is read
		return 0
	}
	return x.random(n)
}

// words splits a list at any of the separators and drops what is empty.
func words(list, separators string) []string {
	var w []string
	for _, s := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if s = strings.TrimSpace(s); s != "" {
			w = append(w, s)
		}
	}
	return w
}

func itoa(n int) string { return strconv.Itoa(n) }

func itoa64(n int64) string { return strconv.FormatInt(n, 10) }
