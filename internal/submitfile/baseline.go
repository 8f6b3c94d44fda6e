package submitfile

import (
	"fmt"
	"strings"

	"skua/internal/fit"
)

// baseline is the level of x86-64 that the job asks to be held to; "" for none, also when it says so.
func (p *proc) baseline() (b fit.Baseline, v value, err error) {
	if v, err = p.get("cpu_baseline", strings.ToLower(fit.AttrBaseline)); err != nil || !v.set() {
		return "", v, err
	}
	if b, err = fit.ParseBaseline(v.text); err != nil {
		return "", v, problem(v.at, fit.BaselineHint, "%s: %w", v.name, err)
	}
	return b, v, nil
}

// buildBaseline sets what the job is held to.
func buildBaseline(p *proc) error {
	b, v, err := p.baseline()
	if err != nil || !v.set() {
		return err
	}
	if b == "" {
		p.setString(fit.AttrBaseline, fit.NoBaseline)
		return nil
	}
	p.setString(fit.AttrBaseline, string(b))
	return nil
}

// checkBaseline says which variables of the job's own keep it from being held to its baseline. It sets nothing: once is
// enough.
func checkBaseline(p *proc) error {
	b, v, err := p.baseline()
	if err != nil || b == "" {
		return err
	}
	vars, _, err := p.variables()
	if err != nil {
		return err
	}
	env := make([]string, 0, len(vars))
	for name, val := range vars {
		env = append(env, name+"="+val)
	}
	if _, conflicts := b.Environ(env, nil); len(conflicts) > 0 {
		p.note(v.at, fmt.Sprintf("%s is not kept: the job's environment sets %s, which stays as it is", v.name, strings.Join(conflicts, " and ")))
	}
	return nil
}

// baselineClauses require a processor that can do what the job is held to.
func (p *proc) baselineClauses(_ value, mentioned map[string]bool) ([]string, error) {
	b, _, err := p.baseline()
	if err != nil || b == "" || mentioned[strings.ToLower(fit.AttrMicroarch)] {
		return nil, err
	}
	return []string{fmt.Sprintf("(TARGET.%s >= %q)", fit.AttrMicroarch, b.Microarch())}, nil
}
