package classad

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentation runs every example `expression` → `value` of docs/classad.md, and looks for one of
// each function.
func TestDocumentation(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "classad.md"))
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]bool{}
	examples := regexp.MustCompile("`([^`]+)` → `([^`]*)`").FindAllStringSubmatch(string(data), -1)
	for _, ex := range examples {
		src, want := ex[1], ex[2]
		if src == "1 + 1" && want == "2" {
			continue // explains the notation
		}
		e, err := ParseExpr(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := e.Eval(nil, nil).String(); got != want {
			t.Errorf("%s is %s, the documentation says %s", src, got, want)
		}
		inspect(e.root, func(n node) {
			if c, ok := n.(*call); ok {
				called[lower(c.name)] = true
			}
		})
	}
	for _, name := range Functions() {
		if !called[lower(name)] || !strings.Contains(string(data), "\n| `"+name+"(") {
			t.Errorf("%s is not described, or has no example", name)
		}
	}
}
