package job

import (
	"fmt"
	"strings"

	"skua/policy/classad"
)

// filled are the attributes in which what depends on the machine may stand.
var filled = []string{"Cmd", "Args", "Arguments", "Env", "Environment", "TransferInput"}

// mostFilled is how long an attribute may be once it is filled in.
const mostFilled = 1 << 20

// Filled gives the ad of a job on a machine: what its description leaves open until then is filled in. That is
// $$(Attribute) and $$(Attribute:default), from the machine's ad, $$([expression]), computed over the job's ad and
// the machine's, and $$(DOLLARDOLLAR). What has no value, and no default, is an error. Without anything like it,
// machine is not called, and the ad itself is what it gives.
func Filled(ad *classad.Ad, machine func() *classad.Ad) (*classad.Ad, error) {
	out := ad
	var slot *classad.Ad
	for _, name := range filled {
		text, ok := ad.Str(name)
		if !ok || !strings.Contains(text, "$$(") {
			continue
		}
		if slot == nil {
			slot = machine()
		}
		text, err := fillIn(text, ad, slot)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		if out == ad {
			out = ad.Clone()
		}
		out.SetString(name, text)
	}
	return out, nil
}

func fillIn(text string, ad, machine *classad.Ad) (string, error) {
	var done strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$$(")
		done.WriteString(before)
		if !found {
			return done.String(), nil
		}
		value, after, err := fillNext(rest, ad, machine)
		if err != nil {
			return "", err
		}
		done.WriteString(value)
		if text = after; done.Len()+len(text) > mostFilled {
			return "", fmt.Errorf("filled in, it is longer than %d bytes", mostFilled)
		}
	}
}

// fillNext computes what stands between the parenthesis before text and the one that closes it, and gives the rest.
func fillNext(text string, ad, machine *classad.Ad) (value, rest string, err error) {
	if strings.HasPrefix(text, "[") {
		source, rest, closed := strings.Cut(text[1:], "])")
		if !closed {
			return "", "", fmt.Errorf("$$(%s is not closed with \"])\"", clipped(text))
		}
		e, err := classad.ParseOldExpr(source)
		if err != nil {
			return "", "", fmt.Errorf("$$([%s]): %w", clipped(source), err)
		}
		value, ok := asText(e.Eval(ad, machine))
		if !ok {
			return "", "", fmt.Errorf("$$([%s]) has no value on this machine", clipped(source))
		}
		return value, rest, nil
	}
	body, rest, closed := strings.Cut(text, ")")
	name, other, hasDefault := strings.Cut(body, ":")
	switch name = strings.TrimSpace(name); {
	case !closed || name == "" || strings.ContainsFunc(name, notInName):
		return "$$(", text, nil // a shell's, perhaps
	case strings.EqualFold(name, "DOLLARDOLLAR"):
		return "$$", rest, nil
	}
	value, ok := asText(machine.Eval(name, ad))
	switch {
	case ok:
		return value, rest, nil
	case hasDefault:
		return other, rest, nil
	}
	return "", "", fmt.Errorf("$$(%s): the machine has no %s", clipped(body), name)
}

func notInName(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// asText is a value as it stands in a text, if it is one that can.
func asText(v classad.Value) (string, bool) {
	switch v.Kind() {
	case classad.Undefined, classad.Error:
		return "", false
	case classad.String:
		return v.Str()
	}
	return v.OldString(), true
}

func clipped(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
