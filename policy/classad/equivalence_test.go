package classad

import (
	"path/filepath"
	"strings"
	"testing"
)

// parsePlain parses src without compiling: what each vertex of the tree means by itself.
func parsePlain(src string, old bool) (*Expr, error) {
	p := &parser{builder: builder{plain: true}}
	p.start(src, old)
	e := p.whole()
	if p.err != nil {
		return nil, p.err
	}
	return e, nil
}

// sameValue compares values, and the elements of lists to a depth: a list can contain itself.
func sameValue(a, b Value, depth int) bool {
	if a.kind != List || b.kind != List || depth == 0 {
		return a.kind == b.kind && (a.kind >= List || a.String() == b.String())
	}
	x, _ := a.List()
	y, _ := b.List()
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !sameValue(x[i], y[i], depth-1) {
			return false
		}
	}
	return true
}

// varies are what makes two evaluations differ.
func varies(src string) bool {
	src = strings.ToLower(src)
	return strings.Contains(src, "time") || strings.Contains(src, "random") || strings.Contains(src, "eval(") || strings.Contains(src, "\\")
}

// checkEquivalent compares the evaluation of src compiled, plain, and flattened. The ways need different
// numbers of steps, so that where one of them is abandoned nothing is compared.
func checkEquivalent(t *testing.T, src string, old bool, my, target *Ad) {
	t.Helper()
	compiled, err := parseExpr(src, old)
	plain, plainErr := parsePlain(src, old)
	if (err == nil) != (plainErr == nil) {
		t.Fatalf("%q: compiled: %v, plain: %v", src, err, plainErr)
	}
	if err != nil {
		return
	}
	if got, want := compiled.String(), plain.String(); got != want {
		t.Fatalf("%q: compiled prints %q, plain %q", src, got, want)
	}
	want, ok := try(plain.root, my, target)
	got, gotOK := try(compiled.root, my, target)
	if !varies(src) && ok && gotOK && !sameValue(got, want, 3) {
		t.Errorf("%q: compiled %v (%v), plain %v (%v)", src, got, gotOK, want, ok)
	}
	if my == nil {
		my = emptyAd
	}
	flat := compiled.Flatten(my)
	got, gotOK = try(flat.root, my, target)
	if !varies(src) && (ok && gotOK && !sameValue(got, want, 3)) {
		t.Errorf("%q: flattened to %q: %v, plain %v", src, flat, got, want)
	}
	again, err := ParseExpr(flat.String())
	if err != nil {
		t.Fatalf("%q: flattened to %q: %v", src, flat, err)
	}
	if v, ok := try(again.root, my, target); !varies(src) && ok && gotOK && !sameValue(got, v, 3) {
		t.Errorf("%q: flattened to %q: %v, printed and parsed %v", src, flat, got, v)
	}
	if target == nil {
		return
	}
	asking := my.Clone()
	asking.Set(AttrRequirements, compiled)
	accepted := asking.prepare().accepts(asking, target, target.prepare())
	if v, ok := try(compiled.root, asking, target); !varies(src) && ok && accepted != v.IsTrue() {
		t.Errorf("%q: as Requirements, accepts says %v, the expression %v", src, accepted, v)
	}
}

// TestEquivalence evaluates all of the corpus in all ways.
func TestEquivalence(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "conformance", "classad", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus")
	}
	for _, file := range files {
		for _, c := range readConformance(t, file) {
			my, err1 := parseCorpusAd(c.Ad)
			target, err2 := parseCorpusAd(c.Target)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if c.Mode == "match" {
				for _, pair := range [][2]*Ad{{my, target}, {target, my}} {
					e, _ := pair[0].Lookup(AttrRequirements)
					checkEquivalent(t, e.String(), false, pair[0], pair[1])
				}
				continue
			}
			checkEquivalent(t, c.Expr, c.Syntax == "old", my, target)
		}
	}
}
