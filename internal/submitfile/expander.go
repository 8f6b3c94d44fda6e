package submitfile

import (
	"fmt"
	"strings"
)

// An expander replaces the macros of one value. It does so in HTCondor's order, which can be seen
// from outside: the first complete reference of the text is replaced by the value as it was written,
// and the search goes on in the result, until there is none left. So a reference within another one's
// name is replaced before that, and what a value contains counts as if it stood in the text itself.
//
// Macros that refer to each other would go round for ever. The expander knows which part of the text
// has come from which macro, and refuses one that turns up in its own value.
type expander struct {
	d         *Description
	statement int
	at        pos                              // for errors
	variable  func(name string) (string, bool) // of the queue statement; may be nil
	builtin   func(name string) (string, bool) // Process, Cluster and so on; may be nil
	random    func(n uint64) uint64            // a number below n; nil where a line is decided while the file is read
	within    []origin                         // macros whose values are being searched, outermost first
	steps     int
	work      int // bytes searched and moved
}

// origin is a macro whose value is in the text that is being searched.
type origin struct {
	name  string
	after int // bytes of the text that follow the value
}

// maxWork bounds the bytes that expanding one value moves. A value that needs more is made to.
const maxWork = 1 << 28

// reference is a macro found in a text: text[start:end] is all of it.
type reference struct {
	start, end int
	function   string // INT; empty for $(name)
	body       string // between the parentheses
}

// expand replaces all macros of a text.
func (x *expander) expand(text string) (string, error) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	text, err := x.replace(text, func(r reference) bool { return !r.isDollar() })
	if err != nil {
		return "", err
	}
	if err := x.checkIncomplete(text); err != nil {
		return "", err
	}
	return dollars(text), nil
}

// checkIncomplete looks for what was meant as a macro and is not one. Other text of that form, such as
// a shell's $(date +%s), is left alone.
func (x *expander) checkIncomplete(text string) error {
	for {
		i := strings.Index(text, "$(")
		if i < 0 {
			return nil
		}
		second := i > 0 && text[i-1] == '$'
		text = text[i+2:]
		n := 0
		for n < len(text) && isMacroByte(text[n]) {
			n++
		}
		var err error
		switch {
		case second || n == 0:
		case n == len(text):
			err = x.d.refuse(x.at, "for a dollar sign write $(DOLLAR)", "the macro $(%s is never closed with \")\"", clip(text))
		case text[n] == ':':
			name := text[:n]
			err = x.d.refuse(x.at, fmt.Sprintf("give it a value before: if ! defined %s, then a line %s = ..., then endif", name, name),
				"$(%s: the default of a macro can only hold letters, digits, blanks and . , : / \\ _ $", clip(text))
		}
		if err != nil {
			return err
		}
	}
}

// replace replaces the references that want accepts until there is none.
func (x *expander) replace(text string, want func(reference) bool) (string, error) {
	var done strings.Builder // what holds no reference any more
	outer := len(x.within)
	defer func() { x.within = x.within[:outer] }()
	for {
		r, again, ok := next(text, want, &x.work)
		if x.work > maxWork {
			return "", problem(x.at, "", "the value has too many macros within macros")
		}
		if !ok {
			done.WriteString(text)
			return done.String(), nil
		}
		if x.steps++; x.steps > maxSteps {
			return "", problem(x.at, "", "the value has more than %d macros when they are all replaced", maxSteps)
		}
		after := len(text) - r.end
		for len(x.within) > outer && x.within[len(x.within)-1].after > after { // its value has been left
			x.within = x.within[:len(x.within)-1]
		}
		value, name, err := x.value(r)
		if err != nil {
			return "", err
		}
		if name != "" {
			x.within = append(x.within, origin{name, after})
		}
		done.WriteString(text[:again])
		text = text[again:r.start] + value + text[r.end:]
		x.work += len(text)
		if done.Len()+len(text) > maxLine {
			return "", problem(x.at, "", "the value grows beyond %d bytes when its macros are replaced", maxLine)
		}
	}
}

// next finds the first complete reference that is wanted. A search that follows its replacement must
// begin at again, where one that was not complete before may have become so. It adds the bytes that it
// looks at to work, and gives up beyond maxWork.
func next(text string, want func(reference) bool, work *int) (r reference, again int, ok bool) {
	again = -1
	for i := 0; *work <= maxWork; {
		dollar := strings.IndexByte(text[i:], '$')
		if dollar < 0 {
			return r, 0, false
		}
		dollar += i
		open := dollar + 1
		if strings.HasPrefix(text[open:], "$") {
			open++
		}
		for open < len(text) && isWordByte(text[open]) {
			open++
		}
		name := text[dollar+1 : open]
		if open == len(text) || text[open] != '(' || name != "" && !isFunction(name) { // $$(...) is replaced when the job is matched
			i = open
			continue
		}
		end, closed := bodyEnd(text, open+1, name)
		*work += end - dollar
		if !closed {
			if again < 0 {
				again = dollar
			}
			i = open + 1
			continue
		}
		r = reference{start: dollar, end: end + 1, function: name, body: text[open+1 : end]}
		if want(r) {
			if again < 0 {
				again = dollar
			}
			return r, again, true
		}
		i = end
	}
	return r, 0, false
}

// bodyEnd finds the parenthesis that closes a reference whose body begins at i. Functions take
// anything up to the first one; $(name:default) and $ENV() only what may stand in a name and, after
// the colon, a few characters more and parentheses. If there is none, end is where that became clear.
func bodyEnd(text string, i int, function string) (end int, ok bool) {
	if function != "" && function != "ENV" {
		if end = strings.IndexByte(text[i:], ')'); end < 0 {
			return len(text), false
		}
		return i + end, true
	}
	colon := false
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == ')':
			return i, true
		case isMacroByte(c):
		case c == ':':
			colon = true
		case !colon:
			return i, false
		case c == '(':
			n := strings.IndexByte(text[i:], ')')
			if n < 0 {
				return len(text), false
			}
			i += n
		case strings.IndexByte(`$ ,\`, c) < 0:
			return i, false
		}
	}
	return i, false
}

// value computes what a reference is replaced by. If that is the value of a macro, name says of which.
func (x *expander) value(r reference) (value, name string, err error) {
	if r.function != "" {
		value, err = x.call(r.function, r.body)
		return value, "", err
	}
	name, other, hasDefault := strings.Cut(r.body, ":")
	value, at, ok, err := x.lookup(name)
	switch {
	case err != nil:
		return "", "", err
	case ok && value != "":
		for i, o := range x.within {
			if strings.EqualFold(o.name, name) {
				return "", "", problem(at, "", "the macro %s refers to itself: %s", name, circle(x.within[i:], name))
			}
		}
		return value, name, nil
	case hasDefault:
		return other, "", nil
	}
	if !ok {
		x.d.noteNothing(x.at, name)
	}
	return "", "", nil
}

// circle writes a circle of macros.
func circle(within []origin, name string) string {
	var b strings.Builder
	for _, o := range within {
		b.WriteString(o.name + " -> ")
	}
	return b.String() + name
}

// lookup returns the value of a macro as it was written, and where.
func (x *expander) lookup(name string) (value string, at pos, ok bool, err error) {
	if x.variable != nil {
		if v, ok := x.variable(name); ok {
			return v, x.at, true, nil
		}
	}
	if x.builtin != nil {
		if v, ok := x.builtin(name); ok {
			return v, x.at, true, nil
		}
	}
	if def, ok := x.d.macros.get(name, x.statement); ok {
		return def.text, def.at, true, nil
	}
	if isClusterName(name) {
		return "", x.at, false, problem(x.at, "use $("+name+") in the values of commands",
			"$(%s) is not known yet where this line is decided", name)
	}
	value, ok = x.d.predefined(name)
	return value, x.at, ok, nil
}

func isClusterName(name string) bool {
	return strings.EqualFold(name, "Cluster") || strings.EqualFold(name, "ClusterId") || strings.EqualFold(name, "JobId")
}

// valueOf returns the value of the macro that an argument of a function names, its own macros
// replaced, or else the argument itself.
func (x *expander) valueOf(arg string) (value string, named bool, err error) {
	text, at, named, err := x.lookup(arg)
	if err != nil {
		return "", false, err
	}
	if !named {
		text = arg
	}
	if !strings.Contains(text, "$") {
		return text, named, nil
	}
	if len(x.within) >= maxNesting {
		return "", named, problem(x.at, "", "macros within macros, more than %d deep", maxNesting)
	}
	if named {
		for i, o := range x.within {
			if strings.EqualFold(o.name, arg) {
				return "", true, problem(at, "", "the macro %s refers to itself: %s", arg, circle(x.within[i:], arg))
			}
		}
		x.within = append(x.within, origin{name: arg})
		defer func() { x.within = x.within[:len(x.within)-1] }()
	}
	value, err = x.expand(text)
	return value, named, err
}

// selfExpand replaces references of a new value to the macro's own earlier value, so that
// "opts = $(opts) -q" appends.
func (d *Description) selfExpand(name, value string, statement int, at pos) (string, error) {
	if !strings.Contains(strings.ToLower(value), strings.ToLower(name)) {
		return value, nil
	}
	x := expander{d: d, statement: statement, at: at}
	return x.replace(value, refersTo(name))
}

// refersTo accepts what HTCondor replaces at once when a macro is given a new value: $(name), and the
// $F functions of it.
func refersTo(name string) func(reference) bool {
	return func(r reference) bool {
		switch {
		case r.function == "":
			body, _, _ := strings.Cut(r.body, ":")
			return strings.EqualFold(body, name)
		case isFilenameFunction(r.function), r.function == "BASENAME", r.function == "DIRNAME":
			return strings.EqualFold(r.body, name)
		}
		return false
	}
}

func (r reference) isDollar() bool { return r.function == "" && strings.EqualFold(r.body, "DOLLAR") }

// dollars replaces $(DOLLAR), which comes last so that what it makes is not taken for a reference.
func dollars(text string) string {
	if !strings.Contains(text, "$(") {
		return text
	}
	var done strings.Builder
	work := 0
	for {
		r, _, ok := next(text, reference.isDollar, &work)
		if !ok {
			return done.String() + text
		}
		done.WriteString(text[:r.start])
		text = "$" + text[r.end:]
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isWordByte reports whether c may stand in the name of a function.
func isWordByte(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' }

// isMacroByte reports whether c may stand in the name of a macro within $(...).
func isMacroByte(c byte) bool { return isWordByte(c) || c == '.' || c == '/' }

// isMacroName reports whether s can be given a value.
func isMacroName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isWordByte(c) && c != '.' {
			return false
		}
	}
	return s != ""
}

// balanced splits s at the parenthesis that closes one opened just before it.
func balanced(s string) (body, rest string, ok bool) {
	depth := 1
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return "", "", false
}
