package submitfile

import "strings"

// buildSimple sets the attributes of the commands that stand alone.
func buildSimple(p *proc) error {
	for _, s := range simple {
		v, err := p.get(s.command, s.attr)
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
		p.setString(attr, unquote(v.text))
	case asInt:
		n, err := v.integer()
		if err != nil {
			return err
		}
		p.setInt(attr, n)
	case asBool:
		if b, ok := parseBool(v.text); ok {
			p.setBool(attr, b)
			return nil
		}
		return p.setExpr(attr, v)
	case asList:
		p.setString(attr, strings.Join(strings.FieldsFunc(unquote(v.text), isSeparator), ","))
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
	name := strings.ToUpper(strings.Trim(v.text, `"`))
	for n, s := range signals {
		if s != "" && (name == s || name == itoa(n) || "SIG"+name == s) {
			return s, nil
		}
	}
	return "", problem(v.at, "for example SIGTERM, or 15", "%s = %s is not a signal", v.name, clip(v.text))
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
			p.setExprValue(attr, undefined)
			return nil
		}
		return p.setExpr(attr, v)
	}
}
