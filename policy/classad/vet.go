package classad

import (
	"fmt"
	"slices"

	"github.com/agext/levenshtein"
)

// Vet finds calls in e that can only give error: of functions that do not exist, with the name that
// was probably meant, and with the wrong number of arguments. The language accepts both, since an
// expression may be meant for a newer version. src is the text that e was parsed from.
func (e *Expr) Vet(src string) []*SyntaxError {
	var found []*SyntaxError
	inspect(e.tree(), func(n node) {
		c, ok := n.(*call)
		if !ok {
			return
		}
		if msg := c.complaint(); msg != "" {
			found = append(found, syntaxError(src, c.position(), msg))
		}
	})
	return found
}

func (n *call) complaint() string {
	switch f, got := n.fn, len(n.args); {
	case f == nil:
		msg := "there is no function " + n.name
		if s := suggestFunction(n.name); s != "" {
			msg += "; did you mean " + s + "?"
		}
		return msg
	case f.min <= got && (got <= f.max || f.max == anyNumber):
		return ""
	case f.min == f.max:
		return fmt.Sprintf("%s takes %s, not %d", f.name, arguments(f.min), got)
	default:
		return fmt.Sprintf("%s takes %d to %s, not %d", f.name, f.min, arguments(f.max), got)
	}
}

func arguments(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// suggestFunction returns the function that was probably meant by name, "" if none is near.
func suggestFunction(name string) string {
	const (
		nearEnough = 0.6 // similarity; below this a suggestion confuses more than it helps
		longest    = 64  // bytes of a name that is worth the time
	)
	best, bestScore := "", nearEnough
	if len(name) > longest {
		return best
	}
	for key, f := range builtins {
		// Of functions that are equally near, the first in the alphabet is named.
		if score := levenshtein.Match(lower(name), key, nil); score > bestScore || score == bestScore && f.name < best {
			best, bestScore = f.name, score
		}
	}
	return best
}

// Functions lists the built-in functions, as documented in docs/classad.md.
func Functions() []string {
	names := make([]string, 0, len(builtins))
	for _, f := range builtins {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

// inspect calls f for each vertex of the tree of n as written.
func inspect(n node, f func(node)) {
	n = asWritten(n)
	f(n)
	switch n := n.(type) {
	case *paren:
		inspect(n.x, f)
	case *unary:
		inspect(n.x, f)
	case *binary:
		inspect(n.x, f)
		inspect(n.y, f)
	case *ternary:
		inspect(n.cond, f)
		if n.yes != nil {
			inspect(n.yes, f)
		}
		inspect(n.no, f)
	case *subscript:
		inspect(n.x, f)
		inspect(n.index, f)
	case *attrRef:
		if n.base != nil {
			inspect(n.base, f)
		}
	case *call:
		for _, a := range n.args {
			inspect(a, f)
		}
	case *listNode:
		for _, e := range n.elems {
			inspect(e, f)
		}
	case *adNode:
		for _, e := range n.ad.all {
			inspect(e.root, f)
		}
	}
}
