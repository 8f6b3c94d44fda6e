package submitfile

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"skua/policy/classad"
)

// function computes a macro such as $INT(n,%03d) from its arguments, which are split at commas and
// not yet expanded.
type function func(x *expander, args []string) (string, error)

// functions are the macros with a name before the parenthesis; the $F family is in
// [filenameFunction].
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
		"DIRNAME":        dirnameFunction,
		"BASENAME":       basenameFunction,
	}
}

func (x *expander) callFunction(fn function, name, body string) (string, error) {
	if name == "ENV" { // the default may contain commas
		return envFunction(x, []string{body})
	}
	v, err := fn(x, splitTop(body))
	if err != nil {
		return "", err
	}
	return v, nil
}

// argument expands what a function was given: the name of a macro stands for its value, anything
// else for itself.
func (x *expander) argument(arg string) (string, error) {
	arg, err := x.nested(strings.TrimSpace(arg))
	if err != nil {
		return "", err
	}
	arg, other, hasDefault := strings.Cut(arg, ":")
	if isMacroName(arg) {
		if v, ok, err := x.lookup(arg); ok || err != nil {
			return v, err
		}
	}
	if hasDefault {
		return other, nil
	}
	return arg, nil
}

func (x *expander) bad(format string, args ...any) error {
	return problem(x.at, "", format, args...)
}

// evaluate computes an argument as an expression.
func (x *expander) evaluate(fn, arg string) (classad.Value, string, error) {
	text, err := x.argument(arg)
	if err != nil {
		return classad.Value{}, "", err
	}
	e, err := classad.ParseOldExpr(text)
	if err != nil {
		return classad.Value{}, text, x.bad("$%s(%s): %q is not an expression: %w", fn, arg, clip(text), err)
	}
	return e.Eval(classad.NewAd(), nil), text, nil
}

func (x *expander) number(fn, arg string) (float64, error) {
	v, text, err := x.evaluate(fn, arg)
	if err != nil {
		return 0, err
	}
	if v.Kind() != classad.Integer && v.Kind() != classad.Real {
		return 0, x.bad("$%s(%s): %q is not a number", fn, arg, clip(text))
	}
	f, _ := v.Real()
	return f, nil
}

func (x *expander) integer(fn, arg string) (int64, error) {
	v, text, err := x.evaluate(fn, arg)
	if err != nil {
		return 0, err
	}
	switch v.Kind() {
	case classad.Integer:
		n, _ := v.Int()
		return n, nil
	case classad.Real:
		if f, _ := v.Real(); math.Abs(f) < 1<<62 {
			return int64(f), nil
		}
	}
	return 0, x.bad("$%s(%s): %q is not an integer", fn, arg, clip(text))
}

func envFunction(x *expander, args []string) (string, error) {
	name, other, hasDefault := cutTop(args[0], ':')
	name, err := x.nested(strings.TrimSpace(name))
	if err != nil {
		return "", err
	}
	if v, ok := x.d.env[name]; ok {
		return v, nil
	}
	if hasDefault {
		return x.nested(other)
	}
	return "UNDEFINED", nil
}

func intFunction(x *expander, args []string) (string, error) {
	n, err := x.integer("INT", args[0])
	if err != nil {
		return "", err
	}
	format, err := x.format("INT", args, "%d", "diouxX")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(format, n), nil
}

func realFunction(x *expander, args []string) (string, error) {
	f, err := x.number("REAL", args[0])
	if err != nil {
		return "", err
	}
	if len(args) < 2 {
		return strings.Replace(strconv.FormatFloat(f, 'g', -1, 64), "e", "E", 1), nil
	}
	format, err := x.format("REAL", args, "", "fFeEgGaA")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(format, f), nil
}

// format reads the optional second argument, one conversion of C's printf with text around it, and
// gives Go's.
func (x *expander) format(fn string, args []string, standard, verbs string) (string, error) {
	if len(args) < 2 {
		return standard, nil
	}
	text := strings.TrimSpace(args[1])
	before, conv, ok := strings.Cut(text, "%")
	n := 0
	for n < len(conv) && strings.IndexByte("-+ 0#.123456789", conv[n]) >= 0 {
		n++
	}
	flags := conv[:n]
	end := n
	for end < len(conv) && strings.IndexByte("lhqjzt", conv[end]) >= 0 {
		end++
	}
	const widest = 4 // digits of a width or precision; a wider one only fills memory
	if !ok || end >= len(conv) || strings.IndexByte(verbs, conv[end]) < 0 ||
		strings.Contains(conv[end+1:], "%") || len(strings.Trim(flags, "-+ 0#")) > widest {
		return "", x.bad("$%s(): %q is not a format, such as %s", fn, text, "%05"+verbs[:1])
	}
	verb := conv[end : end+1]
	if verb == "i" || verb == "u" {
		verb = "d"
	}
	return before + "%" + flags + verb + conv[end+1:], nil
}

func stringFunction(x *expander, args []string) (string, error) {
	text, err := x.argument(args[0])
	if err != nil {
		return "", err
	}
	if e, err := classad.ParseOldExpr(text); err == nil {
		if s, ok := e.Eval(classad.NewAd(), nil).Str(); ok {
			text = s
		}
	}
	format, err := x.format("STRING", args, "%s", "s")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(format, text), nil
}

func evalFunction(x *expander, args []string) (string, error) {
	v, _, err := x.evaluate("EVAL", strings.Join(args, ","))
	if err != nil {
		return "", err
	}
	if s, ok := v.Str(); ok {
		return s, nil
	}
	return v.OldString(), nil
}

func substrFunction(x *expander, args []string) (string, error) {
	if len(args) < 2 || len(args) > 3 {
		return "", x.bad("$SUBSTR() takes a macro's name, a start and perhaps a length")
	}
	text, err := x.argument(args[0])
	if err != nil {
		return "", err
	}
	start, err := x.integer("SUBSTR", args[1])
	if err != nil {
		return "", err
	}
	size := int64(len(text))
	if start < 0 {
		start += size
	}
	start = max(0, min(start, size))
	end := size
	if len(args) == 3 {
		n, err := x.integer("SUBSTR", args[2])
		if err != nil {
			return "", err
		}
		if n < 0 { // leave off that many at the end
			end = size + n
		} else {
			end = start + min(n, size)
		}
	}
	end = max(start, min(end, size))
	return text[start:end], nil
}

// list expands the items of $CHOICE and $RANDOM_CHOICE: one argument that names a macro is the list
// that the macro holds.
func (x *expander) list(fn string, args []string) ([]string, error) {
	if len(args) == 1 {
		text, err := x.argument(args[0])
		if err != nil {
			return nil, err
		}
		args = splitTop(text)
	}
	items := make([]string, 0, len(args))
	for _, a := range args {
		v, err := x.nested(strings.TrimSpace(a))
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	if len(items) == 0 || len(items) == 1 && items[0] == "" {
		return nil, x.bad("$%s() has nothing to choose from", fn)
	}
	return items, nil
}

func choiceFunction(x *expander, args []string) (string, error) {
	if len(args) < 2 {
		return "", x.bad("$CHOICE() takes an index and a list")
	}
	i, err := x.integer("CHOICE", args[0])
	if err != nil {
		return "", err
	}
	items, err := x.list("CHOICE", args[1:])
	if err != nil {
		return "", err
	}
	if i < 0 || i >= int64(len(items)) {
		return "", x.bad("$CHOICE(): index %d is outside its list of %d items, which count from 0", i, len(items))
	}
	return items[i], nil
}

func randomChoiceFunction(x *expander, args []string) (string, error) {
	items, err := x.list("RANDOM_CHOICE", args)
	if err != nil {
		return "", err
	}
	return items[x.pick(uint64(len(items)))], nil
}

func randomIntegerFunction(x *expander, args []string) (string, error) {
	if len(args) < 2 || len(args) > 3 {
		return "", x.bad("$RANDOM_INTEGER() takes a smallest and a largest number and perhaps a step")
	}
	var n [3]int64
	n[2] = 1
	for i, a := range args {
		v, err := x.integer("RANDOM_INTEGER", a)
		if err != nil {
			return "", err
		}
		n[i] = v
	}
	low, high, step := n[0], n[1], n[2]
	if step < 1 || low > high || high-low < 0 {
		return "", x.bad("$RANDOM_INTEGER(%s): from %d to %d in steps of %d holds no number", strings.Join(args, ","), low, high, step)
	}
	choices := uint64(high-low)/uint64(step) + 1
	return strconv.FormatInt(low+int64(x.pick(choices))*step, 10), nil
}

func (x *expander) pick(n uint64) uint64 {
	if x.random == nil { // where a line is decided while the file is read
		return 0
	}
	return x.random(n)
}

func dirnameFunction(x *expander, args []string) (string, error) {
	return filenameFunction("p")(x, args)
}

func basenameFunction(x *expander, args []string) (string, error) {
	options := "nx"
	if len(args) > 1 && strings.TrimSpace(args[1]) == "1" {
		options = "n"
	}
	return filenameFunction(options)(x, args[:1])
}

// isFilenameFunction recognises the $F family: F and letters that say which parts are wanted.
func isFilenameFunction(name string) bool {
	return name[0] == 'F' && strings.Trim(name[1:], "pdnxbfqauw") == ""
}

// filenameFunction takes a path apart. Parts: p the directory, d its last component (dd the last
// two), n the name without and x the extension. Then b without the slash or dot at the joint, f made
// absolute, q in double quotes, qa in single quotes, u and w with slashes or backslashes.
func filenameFunction(options string) function {
	has := func(c string) bool { return strings.Contains(options, c) }
	return func(x *expander, args []string) (string, error) {
		text, err := x.argument(strings.Join(args, ","))
		if err != nil {
			return "", err
		}
		if !x.isDefined(strings.Join(args, ",")) {
			text = ""
		}
		text = strings.Trim(text, `"`)
		if has("f") && text != "" && !path.IsAbs(text) {
			text = path.Join(x.d.opts.Dir, text)
		}
		dir, file := path.Split(strings.ReplaceAll(text, `\`, "/"))
		if len(dir)+len(file) == len(text) { // the same path, as it was written
			dir, file = text[:len(dir)], text[len(dir):]
		}
		ext := path.Ext(file)
		var out string
		if !has("p") && !has("d") && !has("n") && !has("x") {
			out = text
		}
		if levels := strings.Count(options, "d"); has("p") {
			out += dir
		} else if levels > 0 {
			parts := strings.Split(strings.TrimRight(dir, `/\`), "/")
			if dir != "" {
				out += strings.Join(parts[max(0, len(parts)-levels):], "/") + "/"
			}
		}
		if has("b") && !has("n") && !has("x") {
			out = strings.TrimRight(out, `/\`)
		}
		if has("n") {
			out += strings.TrimSuffix(file, ext)
		}
		if has("x") {
			if has("b") && !has("n") {
				ext = strings.TrimPrefix(ext, ".")
			}
			out += ext
		}
		switch {
		case has("w"):
			out = strings.ReplaceAll(out, "/", `\`)
		case has("u"):
			out = strings.ReplaceAll(out, `\`, "/")
		}
		switch {
		case has("q") && has("a"):
			out = "'" + out + "'"
		case has("q"):
			out = `"` + out + `"`
		}
		return out, nil
	}
}

// isDefined reports whether the argument names a macro or carries a value itself.
func (x *expander) isDefined(arg string) bool {
	arg = strings.TrimSpace(arg)
	if !isMacroName(arg) {
		return true
	}
	_, ok, err := x.lookup(arg)
	return ok || err != nil
}

// refersTo reports whether a function's arguments begin with the macro name.
func refersTo(body, name string) bool {
	first, _, _ := cutTop(body, ',')
	first, _, _ = strings.Cut(first, ":")
	return strings.EqualFold(strings.TrimSpace(first), name)
}

// splitTop splits s at the commas that are not within parentheses.
func splitTop(s string) []string {
	var parts []string
	for {
		before, after, found := cutTop(s, ',')
		parts = append(parts, before)
		if !found {
			return parts
		}
		s = after
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
