package classad

import (
	"errors"
	"os/user"
	"slices"
	"strings"
)

// Arguments and environments of jobs have two forms. The old one (V1) cannot quote: arguments stand
// between blanks, variables between semicolons. In the new one (V2) both stand between blanks, text
// within single quotes is taken as it is, and two of them there are one.

func init() {
	define(
		builtin{name: "envV1ToV2", min: 1, max: 1, strict: envV1ToV2},
		builtin{name: "mergeEnvironment", max: anyNumber, strict: mergeEnvironment},
		builtin{name: "listToArgs", min: 1, max: 2, strict: listToArgs},
		builtin{name: "argsToList", min: 1, max: 2, strict: argsToList},
		builtin{name: "userHome", max: 2, strict: userHome},
		builtin{name: "userMap", min: 2, max: 4, strict: userMap},
	)
}

var errQuote = errors.New("a quote is not closed")

// splitArgsV2 cuts the new form into its arguments.
func splitArgsV2(s string) ([]string, error) {
	var args []string
	var b strings.Builder
	begun := false // an argument, perhaps an empty one
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'':
			begun = true
			for i++; ; i++ {
				if i >= len(s) {
					return nil, errQuote
				}
				if s[i] == '\'' {
					if i+1 == len(s) || s[i+1] != '\'' {
						break
					}
					i++
				}
				b.WriteByte(s[i])
			}
		case isBlank(c):
			if begun {
				args = append(args, b.String())
			}
			b.Reset()
			begun = false
		default:
			begun = true
			b.WriteByte(c)
		}
	}
	if begun {
		args = append(args, b.String())
	}
	return args, nil
}

// joinArgsV2 writes arguments in the new form, quoting no more than the bytes that need it.
func joinArgsV2(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if arg == "" {
			b.WriteString("''")
		}
		quoted := false
		for i := range len(arg) {
			c := arg[i]
			if special := c == '\'' || isBlank(c); special != quoted {
				b.WriteByte('\'')
				quoted = special
			}
			if c == '\'' {
				b.WriteByte(c)
			}
			b.WriteByte(c)
		}
		if quoted {
			b.WriteByte('\'')
		}
	}
	return b.String()
}

// An environment is what variables are set to.
type environment map[string]string

func (env environment) add(entries []string) bool {
	for _, e := range entries {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return false
		}
		env[name] = value
	}
	return true
}

func (env environment) String() string {
	entries := make([]string, 0, len(env))
	for name, value := range env {
		entries = append(entries, name+"="+value)
	}
	slices.SortFunc(entries, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return strings.Compare(a, b)
	})
	return joinArgsV2(entries)
}

func envV1ToV2(ev *evaluator, args []Value) Value {
	switch v := args[0]; v.kind {
	case Undefined:
		return v
	case String:
		env := environment{}
		if env.add(strings.FieldsFunc(v.text(), func(r rune) bool { return r == ';' })) {
			return ev.text(env.String())
		}
	}
	return errorValue
}

func mergeEnvironment(ev *evaluator, args []Value) Value {
	env := environment{}
	for _, v := range args {
		if v.kind == Undefined {
			continue
		}
		entries, err := splitArgsV2(v.text())
		if v.kind != String || err != nil || !env.add(entries) {
			return errorValue
		}
	}
	return ev.text(env.String())
}

// argsForm reads the optional argument that says which form is meant, 1 or 2.
func argsForm(args []Value) (form int64, ok bool) {
	if len(args) < 2 {
		return 2, true
	}
	form = args[1].int()
	return form, args[1].kind == Integer && (form == 1 || form == 2)
}

func listToArgs(ev *evaluator, args []Value) Value {
	form, ok := argsForm(args)
	if !ok || args[0].kind != List {
		return errorValue
	}
	var items []string
	for _, v := range ev.elements(args[0]) {
		if v.kind != String || form == 1 && (v.text() == "" || strings.ContainsFunc(v.text(), func(r rune) bool { return r <= ' ' && isBlank(byte(r)) })) {
			return errorValue
		}
		items = append(items, v.text())
	}
	if form == 1 {
		return ev.text(strings.Join(items, " "))
	}
	return ev.text(joinArgsV2(items))
}

func argsToList(ev *evaluator, args []Value) Value {
	form, ok := argsForm(args)
	if !ok || args[0].kind != String {
		return errorValue
	}
	if form == 1 {
		return ev.strings(strings.Fields(args[0].text()))
	}
	items, err := splitArgsV2(args[0].text())
	if err != nil {
		return errorValue
	}
	return ev.strings(items)
}

// userHome is the one function that asks the machine: for the home directory of a user.
func userHome(ev *evaluator, args []Value) Value {
	if len(args) == 0 {
		return ev.fail()
	}
	switch v := args[0]; v.kind {
	case Undefined:
	case String:
		if u, err := user.Lookup(v.text()); err == nil && u.HomeDir != "" {
			return stringValue(u.HomeDir)
		}
	default:
		return errorValue
	}
	if len(args) == 2 {
		return args[1]
	}
	return undefinedValue
}

// userMap looks a user up in a map of the configuration. There are none, so that the default, the
// fourth argument, is all it can give.
func userMap(_ *evaluator, args []Value) Value {
	if worst(args[:2]...) == Error {
		return errorValue
	}
	if len(args) == 4 {
		return args[3]
	}
	return undefinedValue
}
