package submitfile

import (
	"slices"
	"sort"
	"strings"
)

// HTCondor has two ways to write arguments and environments. In the old one blanks separate
// arguments and semicolons variables, and nothing can be quoted. In the new one the whole value
// stands in double quotes; within, single quotes keep blanks together, and each kind of quote is
// written twice to stand for itself. Ads keep the old form as Args and the new one, without the
// double quotes, as Arguments and Environment.

func buildArguments(p *proc) error {
	v, err := p.get("arguments", "args")
	if err != nil {
		return err
	}
	v2, err := p.get("arguments2")
	if err != nil {
		return err
	}
	allowed, _, err := p.boolOf(false, "allow_arguments_v1")
	if err != nil {
		return err
	}
	if v2.set() {
		if v.set() && !allowed {
			return problem(v2.at, "leave one of them out", "arguments and arguments2 are both set")
		}
		if !strings.HasPrefix(v2.text, `"`) {
			return problem(v2.at, "", "arguments2 = %s must stand in double quotes", clip(v2.text))
		}
		v = v2
	}
	if !strings.HasPrefix(v.text, `"`) {
		args, err := oldArguments(v)
		if err != nil {
			return err
		}
		if args == "" && !v.blank {
			p.setString("Arguments", "")
		} else {
			p.setString("Args", args)
		}
		return nil
	}
	args, err := newWords(v)
	if err != nil {
		return err
	}
	p.setString("Arguments", joinWords(args))
	return nil
}

// oldArguments reads the old form. Its only escape is \" for a double quote.
func oldArguments(v value) (string, error) {
	text := v.text
	for i := range len(text) {
		if text[i] == '"' && (i == 0 || text[i-1] != '\\') {
			return "", problem(v.at, `put double quotes around all arguments and single quotes around this one: arguments = "-n 'two words'"`,
				"arguments: a double quote in the middle: %s", clip(text[i:]))
		}
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(text, `\"`, `"`)), " "), nil
}

// newWords reads the new form of arguments or environment.
func newWords(v value) ([]string, error) {
	inner, err := undouble(v)
	if err != nil {
		return nil, err
	}
	var words []string
	var word strings.Builder
	inWord, quoted, from := false, false, 0
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case c == '\'' && quoted && i+1 < len(inner) && inner[i+1] == '\'':
			word.WriteByte('\'')
			i++
		case c == '\'':
			quoted, inWord = !quoted, true
			if quoted {
				from = i
			}
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	if quoted {
		return nil, problem(v.at, "write a single quote twice if it is meant as such, within single quotes",
			"%s: a single quote is never closed: %s", v.name, clip(inner[from:]))
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// undouble takes the double quotes away from around a value and halves those within.
func undouble(v value) (string, error) {
	text := strings.TrimSpace(v.text)
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		if rest := strings.TrimSpace(text[i+1:]); rest != "" {
			return "", problem(v.at, `within double quotes write a double quote twice: ""`,
				"%s: %s stands after the closing double quote", v.name, clip(rest))
		}
		return b.String(), nil
	}
	return "", problem(v.at, "", "%s: the double quote at the beginning is never closed", v.name)
}

// joinWords writes words as HTCondor does: blanks and single quotes alone are quoted.
func joinWords(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		writeWord(&b, w)
	}
	return b.String()
}

func writeWord(b *strings.Builder, w string) {
	if w == "" {
		b.WriteString("''")
	}
	open := false
	for i := range len(w) {
		c := w[i]
		if special := c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\''; special != open {
			b.WriteByte('\'')
			open = special
		}
		if c == '\'' {
			b.WriteByte('\'')
		}
		b.WriteByte(c)
	}
	if open {
		b.WriteByte('\'')
	}
}

func buildEnvironment(p *proc) error {
	env, old, err := p.variables()
	if err != nil {
		return err
	}
	if old.set() { // under its old name it stays old
		p.setString("Env", old.text)
		p.setString("EnvDelim", ";")
		return nil
	}
	words := make([]string, 0, len(env))
	for name, val := range env {
		words = append(words, name+"="+val)
	}
	sort.Strings(words)
	p.setString("Environment", joinWords(words))
	return nil
}

// variables are those of the job's environment. Old is their list, if that is one in the old form that says all.
func (p *proc) variables() (env map[string]string, old value, err error) {
	v, err := p.get("environment", "env")
	if err != nil {
		return nil, old, err
	}
	v2, err := p.get("environment2")
	if err != nil {
		return nil, old, err
	}
	if v2.set() {
		if allowed, _, err := p.boolOf(false, "allow_environment_v1"); err != nil {
			return nil, old, err
		} else if v.set() && !allowed {
			return nil, old, problem(v2.at, "leave one of them out", "environment and environment2 are both set")
		}
		if !strings.HasPrefix(v2.text, `"`) {
			return nil, old, problem(v2.at, "", "environment2 = %s must stand in double quotes", clip(v2.text))
		}
		v = v2
	}
	env = map[string]string{}
	if v.set() {
		if err := p.readEnvironment(v, env); err != nil {
			return nil, old, err
		}
	}
	own := len(env)
	if err := p.inherit(env); err != nil {
		return nil, old, err
	}
	if v.name == "env" && own == len(env) && !strings.HasPrefix(v.text, `"`) {
		old = v
	}
	return env, old, nil
}

func (p *proc) readEnvironment(v value, env map[string]string) error {
	var words []string
	if strings.HasPrefix(v.text, `"`) {
		var err error
		if words, err = newWords(v); err != nil {
			return err
		}
	} else {
		list, separator := v.raw, ";"
		if rest, other := strings.CutPrefix(v.raw, "|"); other {
			list, separator = rest, "|"
		}
		for _, w := range strings.Split(list, separator) {
			if w = strings.TrimLeft(w, " \t"); w != "" {
				words = append(words, w)
			}
		}
	}
	for _, w := range words {
		name, val, ok := strings.Cut(w, "=")
		if !ok || name == "" {
			return problem(v.at, "each variable is written NAME=value, as in environment = \"A=1 B='two words'\"",
				"%s: %q is not NAME=value", v.name, clip(w))
		}
		env[name] = val
	}
	return nil
}

// inherit adds what getenv asks for from the submitter's environment, without overriding. Patterns do not bring what is
// [ofThisMachine].
func (p *proc) inherit(env map[string]string) error {
	v, err := p.get("getenv", "get_env", "get_environment")
	if err != nil || !v.set() {
		return err
	}
	var want, unwanted []string
	switch strings.ToLower(v.text) {
	case "false", "0":
		return nil
	case "true", "1":
		want = []string{"*"}
	default:
		if _, word := parseBool(v.text); word {
			if err := p.e.d.refuse(v.at, "write true or false", "getenv = %s is the name of a variable", v.text); err != nil {
				return err
			}
		}
		if strings.HasPrefix(v.text, `"`) {
			if err := p.e.d.refuse(v.at, "leave the quotes out", "getenv = %s names no variable", clip(v.text)); err != nil {
				return err
			}
		}
		for _, w := range strings.FieldsFunc(v.text, isSeparator) {
			if not, ok := strings.CutPrefix(w, "!"); ok {
				unwanted = append(unwanted, not)
			} else {
				want = append(want, w)
			}
		}
		if len(want) == 0 {
			want = []string{"*"}
		}
	}
	for name, val := range p.e.d.env {
		if _, set := env[name]; set || strings.ContainsAny(val, "\n\r") || name == "" {
			continue
		}
		if !matchesAny(name, want) || matchesAny(name, unwanted) {
			continue
		}
		if ofThisMachine(name) && !slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(w, name) }) {
			continue
		}
		env[name] = val
	}
	return nil
}

// ofThisMachine says whether a variable is about the machine where the user submits or the user's pool there. The job has
// those of its own machine, which would be hidden: only who asks for such a one by its name gets it.
func ofThisMachine(name string) bool {
	return matchesAny(name, []string{"TMPDIR", "TMP", "TEMP", "_CONDOR_*", "SKUA_*"})
}

// matchesAny compares a name with patterns in which * stands for anything.
func matchesAny(name string, patterns []string) bool {
	for _, p := range patterns {
		if wildcard(strings.ToLower(name), strings.ToLower(p)) {
			return true
		}
	}
	return false
}

func wildcard(s, pattern string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return s == pattern
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, last)
}
