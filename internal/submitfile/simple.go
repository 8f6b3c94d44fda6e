package submitfile

import (
	"strconv"
	"strings"
)

// buildSimple sets the attributes of the commands that stand alone.
func buildSimple(p *proc) error {
	for _, s := range simple {
		names := []string{s.command, s.attr}
		if s.command == "max_idle" {
			names = append(names, "materialize_max_idle")
		}
		v, err := p.get(names...)
		if err != nil {
			return err
		}
		if !v.set() {
			continue
		}
		if err := p.setSimple(s.attr, s.form, v); err != nil {
			return err
		}
	}
	return nil
}

func (p *proc) setSimple(attr string, f form, v value) error {
	switch f {
	case asString:
		p.setString(attr, v.raw)
	case asText:
		p.setString(attr, unquote(v.text))
	case asPath:
		name, err := p.inIwd(v.text)
		p.setString(attr, name)
		return err
	case asInt, asCount:
		n, err := v.integer()
		if err != nil {
			return err
		}
		if f == asCount && n < 0 {
			return problem(v.at, "", "%s = %s is negative", v.name, clip(v.text))
		}
		p.setInt(attr, n)
	case asSeconds:
		return p.setSeconds(attr, v)
	case asLimit:
		if _, err := v.integer(); err != nil {
			return err
		}
		return p.setExpr(attr, v)
	case asMegabytes:
		if n, ok := parseSize(v.text, 1<<20); ok {
			p.setInt(attr, n)
			return nil
		}
		return p.setExpr(attr, v)
	case asBool:
		b, err := v.boolean()
		p.setBool(attr, b)
		return err
	case asList:
		p.setString(attr, strings.Join(strings.FieldsFunc(v.text, isSeparator), ","))
	case asSignal:
		name, err := signalName(v)
		if err != nil {
			return err
		}
		p.setString(attr, name)
	default:
		return p.setExpr(attr, v)
	}
	return nil
}

// setSeconds sets an attribute to the number that a value begins with, which is all that HTCondor
// looks at.
func (p *proc) setSeconds(attr string, v value) error {
	text := strings.TrimSpace(v.text)
	n := 0
	for n < len(text) && (isDigit(text[n]) || n == 0 && text[0] == '-') {
		n++
	}
	seconds, err := strconv.ParseInt(text[:n], 10, 64)
	if err != nil || n < len(text) {
		if err := p.e.d.refuse(v.at, "write a number of seconds", "%s = %s is not a number", v.name, clip(v.text)); err != nil {
			return err
		}
	}
	p.setInt(attr, seconds)
	return nil
}

// unquote drops the quotes that some people put around a plain text.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// signals are those of Linux, which is where a name has to mean something.
var signals = []string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 17: "SIGCHLD", 18: "SIGCONT",
	19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM",
	27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
}

func signalName(v value) (string, error) {
	name := strings.ToUpper(v.text)
	for n, s := range signals {
		if s != "" && (name == s || name == itoa(n)) {
			return s, nil
		}
	}
	return "", problem(v.at, "write its name, such as SIGTERM, or its number", "%s = %s is not a signal", v.name, clip(v.text))
}

// forcedAttribute sets what +Name or MY.Name says, which wins over every command.
func forcedAttribute(macro string) func(*proc) error {
	attr := macro[len("MY."):]
	return func(p *proc) error {
		v, err := p.get(macro)
		if err != nil {
			return err
		}
		if !v.set() {
			return p.put(attr, setting{expr: undefined})
		}
		return p.setExpr(attr, v)
	}
}
