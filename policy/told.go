package policy

import (
	"fmt"
	"strings"

	"skua/policy/classad"
)

// Texts gives the expressions by name, for [Told].
func (p *Policy) Texts() map[string]string {
	all := map[string]string{}
	for _, e := range p.expressions() {
		all[e.name] = (*e.expr).String()
	}
	return all
}

// LooksAt names the attributes of a slot that the expressions look at.
func (p *Policy) LooksAt() []string {
	var names []string
	for _, e := range p.expressions() {
		names = append(names, facts(*e.expr, p.scope(nil))...)
	}
	return names
}

// Facts gives what the ad of a slot says of the attributes that the expressions look at, and of the owner: values
// by name, for [ToldAd].
func (p *Policy) Facts(slot *classad.Ad) map[string]string {
	scope, all := p.scope(slot), map[string]string{}
	names := []string{"KeyboardIdle", "ConsoleIdle"}
	for _, e := range p.expressions() {
		names = append(names, facts(*e.expr, scope)...)
	}
	for _, name := range names {
		if v := slot.Eval(name, nil); v.Kind() != classad.Undefined {
			all[name] = v.String()
		}
	}
	return all
}

// Told makes a policy of expressions by name, as another process tells them. It can be explained, and no more.
func Told(texts map[string]string) (*Policy, error) {
	ad, err := ToldAd(texts)
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	for _, e := range p.expressions() {
		*e.expr = undefined
		if told, ok := ad.Lookup(e.name); ok {
			*e.expr = told
		}
	}
	return p, nil
}

// ToldAd makes an ad of texts by name.
func ToldAd(texts map[string]string) (*classad.Ad, error) {
	ad := classad.NewAd()
	for name, text := range texts {
		e, err := classad.ParseExpr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		ad.Set(name, e)
	}
	return ad, nil
}
