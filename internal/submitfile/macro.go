package submitfile

import (
	"sort"
	"strings"
)

// table holds every macro of a description with all values it has had. Commands, macros and
// attributes (under "MY." and their name) share it, as in HTCondor.
//
// A queue statement sees the values of its moment, and several may follow one another. Keeping each
// value with the number of the statement that set it lets all of them look into one table.
type table struct {
	byName map[string]*macro
	order  []*macro // in order of first definition
}

type macro struct {
	name   string // as first written
	values []definition
	used   bool
}

type definition struct {
	statement int
	text      string
	at        pos // of the value
}

func newTable() *table { return &table{byName: map[string]*macro{}} }

func (t *table) set(name string, d definition) {
	key := strings.ToLower(name)
	m := t.byName[key]
	if m == nil {
		m = &macro{name: name}
		t.byName[key] = m
		t.order = append(t.order, m)
	}
	m.values = append(m.values, d)
}

// get returns the definition that name has at a statement. Empty is as good as not defined.
func (t *table) get(name string, statement int) (definition, bool) {
	m := t.byName[strings.ToLower(name)]
	if m == nil {
		return definition{}, false
	}
	m.used = true
	def, ok := m.at(statement)
	return def, ok && def.text != ""
}

// at returns the definition of a statement's moment, which may be empty.
func (m *macro) at(statement int) (definition, bool) {
	i := sort.Search(len(m.values), func(i int) bool { return m.values[i].statement > statement })
	if i == 0 {
		return definition{}, false
	}
	return m.values[i-1], true
}

// expander replaces the macros of a text. It is made for one text and then discarded.
type expander struct {
	d         *Description
	statement int
	at        pos                              // for errors
	live      func(name string) (string, bool) // Process, Item and so on; may be nil
	cluster   func() (string, error)           // $(Cluster)
	random    func(n uint64) uint64            // a number below n
	only      string                           // not empty: replace references to this macro alone
	within    []string                         // macros being expanded, outermost first
	steps     int
}

func (x *expander) expand(text string) (string, error) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	var b strings.Builder
	if err := x.expandTo(&b, text); err != nil {
		return "", err
	}
	return b.String(), nil
}

func (x *expander) expandTo(b *strings.Builder, text string) error {
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			b.WriteString(text)
			return nil
		}
		b.WriteString(text[:i])
		text = text[i+1:]
		if b.Len() > maxLine {
			return problem(x.at, "", "the value grows beyond %d bytes when its macros are replaced", maxLine)
		}
		if strings.HasPrefix(text, "$") { // $$(...) is replaced when the job is matched, not now
			b.WriteString("$$")
			text = text[1:]
			continue
		}
		n := identifier(text)
		fn, ok := functions[text[:n]]
		if !ok && n > 0 && isFilenameFunction(text[:n]) {
			fn, ok = filenameFunction(text[1:n]), true
		}
		if !ok && n > 0 || !strings.HasPrefix(text[n:], "(") {
			b.WriteByte('$') // a dollar sign that is only that
			continue
		}
		body, rest, closed := balanced(text[n+1:])
		if !closed {
			return problem(x.at, "for a dollar sign write $(DOLLAR)", "the macro $%s is never closed with \")\"", clip(text))
		}
		if x.steps++; x.steps > maxSteps {
			return problem(x.at, "", "the value has more than %d macros when they are all replaced", maxSteps)
		}
		var value string
		var err error
		switch {
		case n > 0 && x.only != "" && !refersTo(body, x.only):
			if body, err = x.expand(body); err == nil {
				value = "$" + text[:n] + "(" + body + ")"
			}
		case n > 0 && x.only != "":
			now := expander{d: x.d, statement: x.statement, at: x.at}
			value, err = now.callFunction(fn, text[:n], body)
		case n > 0:
			value, err = x.callFunction(fn, text[:n], body)
		default:
			value, err = x.reference(body)
		}
		if err != nil {
			return err
		}
		b.WriteString(value)
		text = rest
	}
}

// reference replaces $(body), where body is name or name:default and may itself contain macros.
func (x *expander) reference(body string) (string, error) {
	name, other, hasDefault := cutTop(body, ':')
	name = strings.TrimSpace(name)
	if strings.Contains(name, "$") {
		var err error
		if name, err = x.nested(name); err != nil {
			return "", err
		}
	}
	if x.only != "" {
		if !strings.EqualFold(name, x.only) {
			inner, err := x.expand(body) // the macro may stand inside the default
			return "$(" + inner + ")", err
		}
		if def, ok := x.d.macros.get(name, x.statement); ok {
			return def.text, nil
		}
		return other, nil
	}
	if !isMacroName(name) {
		return "$(" + body + ")", nil
	}
	if strings.EqualFold(name, "DOLLAR") {
		return "$", nil
	}
	value, ok, err := x.lookup(name)
	if err != nil {
		return "", err
	}
	if !ok && hasDefault {
		return x.nested(other)
	}
	return value, nil
}

// lookup returns the value of a macro with its own macros replaced.
func (x *expander) lookup(name string) (string, bool, error) {
	switch strings.ToLower(name) {
	case "cluster", "clusterid":
		if x.cluster == nil {
			return "", false, problem(x.at, "use $(Cluster) in the values of commands",
				"$(%s) is not known yet where this line is decided", name)
		}
		v, err := x.cluster()
		return v, err == nil, err
	}
	if x.live != nil {
		if v, ok := x.live(name); ok {
			return v, true, nil
		}
	}
	def, ok := x.d.macros.get(name, x.statement)
	if !ok {
		v, ok := x.d.predefined(name)
		return v, ok, nil
	}
	for _, outer := range x.within {
		if strings.EqualFold(outer, name) {
			return "", false, problem(def.at, "", "the macro %s refers to itself: %s", name,
				strings.Join(append(x.within, name), " -> "))
		}
	}
	if len(x.within) >= maxNesting {
		return "", false, problem(def.at, "", "macros within macros, more than %d deep", maxNesting)
	}
	x.within = append(x.within, name)
	v, err := x.expand(def.text)
	x.within = x.within[:len(x.within)-1]
	return v, true, err
}

// nested expands a part of the text being expanded, which may hold macros of its own.
func (x *expander) nested(text string) (string, error) {
	if len(x.within) >= maxNesting {
		return "", problem(x.at, "", "macros within macros, more than %d deep", maxNesting)
	}
	x.within = append(x.within, "")
	v, err := x.expand(text)
	x.within = x.within[:len(x.within)-1]
	return v, err
}

// predefined gives the macros that every description has.
func (d *Description) predefined(name string) (string, bool) {
	switch strings.ToUpper(name) {
	case "ARCH":
		return d.arch(), true
	case "OPSYS":
		return d.opSys(), true
	case "ISLINUX":
		return boolText(d.opSys() == "LINUX"), true
	case "ISWINDOWS":
		return boolText(d.opSys() == "WINDOWS"), true
	case "SUBMIT_FILE":
		return d.name, true
	case "SPOOL":
		return "", false
	}
	if d.opts.Now.IsZero() {
		return "", false
	}
	switch now := d.opts.Now; strings.ToUpper(name) {
	case "SUBMIT_TIME":
		return itoa(int(now.Unix())), true
	case "YEAR":
		return now.Format("2006"), true
	case "MONTH":
		return now.Format("01"), true
	case "DAY":
		return now.Format("02"), true
	case "HOUR":
		return now.Format("15"), true
	case "MINUTE":
		return now.Format("04"), true
	case "SECOND":
		return now.Format("05"), true
	}
	return "", false
}

func (d *Description) arch() string {
	if d.opts.Arch != "" {
		return d.opts.Arch
	}
	return "X86_64"
}

func (d *Description) opSys() string {
	if d.opts.OpSys != "" {
		return d.opts.OpSys
	}
	return "LINUX"
}

// selfExpand replaces references of a new value to the macro's own earlier value, so that
// "opts = $(opts) -q" appends.
func (d *Description) selfExpand(name, value string, statement int, at pos) (string, error) {
	if !strings.Contains(strings.ToLower(value), strings.ToLower(name)) {
		return value, nil
	}
	x := expander{d: d, statement: statement, at: at, only: name}
	return x.expand(value)
}

// identifier is the length of the function name at the start of s.
func identifier(s string) int {
	n := 0
	for n < len(s) && (isLetter(s[n]) || s[n] == '_') {
		n++
	}
	return n
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isMacroName reports whether s may stand in $(s). Anything else, such as a shell's $(date +%s), is
// left alone.
func isMacroName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && c != '_' && c != '.' {
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

// cutTop cuts s around the first sep that is not within parentheses.
func cutTop(s string, sep byte) (before, after string, found bool) {
	depth := 0
	for i := range len(s) {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		case s[i] == sep && depth == 0:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// clip shortens a text for a message.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
