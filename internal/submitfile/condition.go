package submitfile

import (
	"fmt"
	"strconv"
	"strings"
)

// conditional is an open if. Its lines count while live is true in every one that is open.
type conditional struct {
	at    pos
	live  bool
	taken bool // a branch has been live, so no later one will be
	final bool // else was seen
}

// conditional handles if, elif, else and endif.
//
// Each file has its own: an include cannot close what is open where it stands.
func (p *parser) conditional(s *source, word, rest string, at pos) (handled bool, err error) {
	if word == "if" {
		const deepest = 100
		if len(p.ifs) == deepest {
			return true, problem(at, "", "\"if\" within \"if\", more than %d deep", deepest)
		}
		c := conditional{at: at}
		if p.live() {
			c.live, err = p.condition(rest, at)
		}
		c.taken = c.live
		p.ifs = append(p.ifs, c)
		return true, err
	}
	if word != "elif" && word != "else" && word != "endif" {
		return false, nil
	}
	if len(p.ifs) == p.file0 {
		hint := ""
		if p.forgotten.file == s.name {
			hint = fmt.Sprintf("the queue statement in line %d ended every \"if\"; let the \"if\" set what differs, and put one queue statement after the \"endif\"", p.forgotten.line)
		}
		return true, problem(at, hint, "%q without an \"if\" before it", word)
	}
	c := &p.ifs[len(p.ifs)-1]
	if word != "endif" && c.final {
		return true, problem(at, fmt.Sprintf("the \"if\" is in line %d", c.at.line), "%q after the \"else\"", word)
	}
	switch word {
	case "endif":
		p.ifs = p.ifs[:len(p.ifs)-1]
		return true, nil
	case "else":
		c.live, c.final = !c.taken, true
	case "elif":
		c.live = false
		if outer := p.ifs[:len(p.ifs)-1]; !c.taken && (&parser{ifs: outer}).live() {
			c.live, err = p.condition(rest, at)
		}
	}
	c.taken = c.taken || c.live
	return true, err
}

// forgetIfs is called where a queue statement counts: after it, HTCondor does not know any more what was open
// before. It would not be the same jobs that Skua and HTCondor make of such a file if that were
// otherwise here.
func (p *parser) forgetIfs(at pos) error {
	if len(p.ifs) > 0 {
		err := p.d.refuse(p.ifs[0].at, "close it with a line \"endif\" before the queue statement", "this \"if\" is open at a queue statement, which ends it")
		p.ifs, p.forgotten = nil, at
		return err
	}
	return nil
}

// condition decides what stands after if: a boolean or a number, "defined name", or "version" with a
// comparison, each with a ! before it or not.
func (p *parser) condition(text string, at pos) (bool, error) {
	x := p.expander(at)
	c, err := x.expand(text)
	if err != nil {
		return false, err
	}
	c = strings.TrimSpace(c)
	want := true
	if strings.HasPrefix(c, "!") {
		want, c = false, strings.TrimSpace(c[1:])
	}
	word, rest := firstWord(c)
	switch word := strings.ToLower(word); {
	case word == "defined" && (rest == "" || isMacroName(rest)):
		return p.defined(rest) == want, nil
	case word == "version" && (rest == "" || c[len("version")] == ' ' || c[len("version")] == '\t'):
		v, err := versionIs(rest)
		if err != nil {
			return false, problem(at, "for example: if version >= 8.4.0", "if %s: %w", clip(text), err)
		}
		return v == want, nil
	case c == "" && strings.Contains(text, "$"): // a macro that is not defined counts as false
		return !want, nil
	}
	if b, ok := parseBool(c); ok {
		return b == want, nil
	}
	if f, err := strconv.ParseFloat(c, 64); err == nil {
		return (f != 0) == want, nil
	}
	return false, problem(at, "write a boolean or a number, \"defined name\", or \"version >= 8.4.0\"; for more, compute a macro with $INT() or $EVAL() and test that",
		"if %s: \"if\" does not compare or compute", clip(text))
}

// defined reports whether a name has a value that is not empty, or is a number or a boolean itself.
func (p *parser) defined(name string) bool {
	if def, ok := p.d.macros.get(name, p.statement); ok {
		return def.text != ""
	}
	if v, ok := p.expander(pos{}).builtin(name); ok {
		return v != ""
	}
	if v, ok := p.d.predefined(name); ok && !strings.HasPrefix(v, "$") {
		return v != ""
	}
	_, err := strconv.ParseFloat(name, 64)
	_, boolean := parseBool(name)
	return err == nil || boolean || isClusterName(name)
}

// version is the release of HTCondor whose language this is.
var version = [3]int{23, 9, 6}

func versionIs(text string) (bool, error) {
	op := strings.TrimSpace(text)
	n := 0
	for n < len(op) && strings.IndexByte("<>=!", op[n]) >= 0 {
		n++
	}
	op, digits := op[:n], strings.TrimSpace(op[n:])
	parts := strings.Split(digits, ".")
	if len(parts) < 2 {
		return false, fmt.Errorf("%q is not a version with at least two numbers", digits)
	}
	parts = parts[:min(len(parts), 3)]
	order := 0
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return false, fmt.Errorf("%q is not a version", digits)
		}
		if order == 0 {
			order = version[i] - n
		}
	}
	switch op {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	case ">=":
		return order >= 0, nil
	case "=", "==":
		return order == 0, nil
	case "!=":
		return order != 0, nil
	}
	return false, fmt.Errorf("%q is not a comparison", op)
}

// parseBool reads the words for true and false that HTCondor knows.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "t", "yes", "1":
		return true, true
	case "false", "f", "no", "0":
		return false, true
	}
	return false, false
}
