package submitfile

import (
	"fmt"
	"strings"

	"skua/policy/classad"
)

// overCluster makes an expression over ClusterId of a value in which a number stands for it.
func overCluster(attr string, s setting) (setting, error) {
	if s.kind == classad.Integer || s.kind == classad.Undefined || strings.Contains(s.text, standIn) {
		ad := classad.NewAd()
		s.put(ad, attr)
		e, _ := ad.Lookup(attr)
		text := e.String()
		if !strings.Contains(text, standIn) {
			return s, nil
		}
		resolved, err := classad.ParseExpr(withClusterID(text))
		if err != nil {
			return s, fmt.Errorf("attribute %s: put the number of the cluster into %s: %w", attr, text, err)
		}
		return setting{expr: resolved}, nil
	}
	return s, nil
}

// withClusterID replaces the number that stands for the cluster's in an expression by ClusterId, and in
// its strings by a call of strcat.
func withClusterID(text string) string {
	var out strings.Builder
	for text != "" {
		if text[0] != '"' {
			next := strings.IndexByte(text, '"')
			if next < 0 {
				next = len(text)
			}
			out.WriteString(strings.ReplaceAll(text[:next], standIn, "ClusterId"))
			text = text[next:]
			continue
		}
		n := 1
		for n < len(text) && text[n] != '"' {
			if text[n] == '\\' {
				n++
			}
			n++
		}
		n = min(n+1, len(text))
		if s := text[:n]; strings.Contains(s, standIn) {
			out.WriteString("strcat(" + strings.ReplaceAll(s, standIn, `", ClusterId, "`) + ")")
		} else {
			out.WriteString(s)
		}
		text = text[n:]
	}
	return out.String()
}
