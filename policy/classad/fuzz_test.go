package classad

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// seed gives a fuzz target the expressions of the conformance corpus in one of the syntaxes.
func seed(f *testing.F, old bool) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "conformance", "classad", "*.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		for i, c := range readConformance(f, file) {
			if (c.Syntax == "old") == old && (old || i%5 == 0) {
				f.Add(c.Expr)
			}
		}
	}
}

// What parses is printed, parses again and prints the same, be it an expression or an ad.
func FuzzParse(f *testing.F) {
	seed(f, false)
	f.Add("[ A = 1; a = -2.5; 'b c' = { TRUE, \"x\" \"y\" }; d = [ e = .A ] ]")
	f.Fuzz(func(t *testing.T, src string) {
		if ad, err := ParseAd(src); err == nil {
			checkAd(t, ad)
		}
		e, err := ParseExpr(src)
		if err != nil {
			if se := err.(*SyntaxError); se.Line < 1 || se.Col < 1 || se.Caret() == "" {
				t.Errorf("%q: error without a place: %+v", src, se)
			}
			return
		}
		text := e.String()
		again, err := ParseExpr(text)
		if err != nil {
			t.Fatalf("%q printed %q, which does not parse: %v", src, text, err)
		}
		if got := again.String(); got != text {
			t.Errorf("%q printed %q and then %q", src, text, got)
		}
		e.References()
		e.Conjuncts()
		e.Vet(src)
	})
}

// The same for the old syntax, as far as that can say everything.
func FuzzParseOld(f *testing.F) {
	seed(f, true)
	f.Add("A = 1\nB = \"x\\y\"\n\n# c\n'c d' = A + TARGET.B\r\nE = -1.5\nF=TRUE\nF = 007")
	f.Add(readAd(f, "job.ad"))
	f.Fuzz(func(t *testing.T, src string) {
		if ad, err := ParseOldAd(src); err == nil {
			checkAd(t, ad)
		}
		checkPlainLine(t, src)
		e, err := ParseOldExpr(src)
		if err != nil {
			return
		}
		if again, err := ParseExpr(e.String()); err != nil || again.String() != e.String() {
			t.Fatalf("%q in the new syntax is %q: %v", src, e, err)
		}
		text := e.OldString()
		if strings.Contains(text, `\"`) || strings.ContainsAny(text, "'\n\r") {
			return // perhaps one of the strings that the old syntax cannot say
		}
		again, err := ParseOldExpr(text)
		if err != nil {
			t.Fatalf("%q printed %q, which does not parse: %v", src, text, err)
		}
		if again.String() != e.String() {
			t.Errorf("%q printed %q, which is %q", src, text, again)
		}
	})
}

// checkPlainLine checks that the fast way to read a line reads what the parser does.
func checkPlainLine(t *testing.T, line string) {
	t.Helper()
	if strings.Contains(line, "\n") {
		return
	}
	name, v, ok := plainLine(line, &keeper{})
	if !ok {
		return
	}
	p := newParser(line, true)
	wantName, e := p.line()
	if want, isLiteral := e.Literal(); p.err != nil || !isLiteral || name != wantName || v.kind != want.kind || v.String() != want.String() {
		t.Errorf("%q is read as %s = %v, parsed as %s = %v: %v", line, name, v, wantName, e, p.err)
	}
}

// checkAd checks that an ad that is printed and parsed is the same, and that it finds each of its
// attributes and none that has been deleted.
func checkAd(t *testing.T, ad *Ad) {
	t.Helper()
	again, err := ParseAd(ad.String())
	if err != nil || again.String() != ad.String() || again.Len() != ad.Len() {
		t.Fatalf("%v is then %v: %v", ad, again, err)
	}
	c := ad.Clone()
	for _, name := range ad.Names() {
		e, ok := ad.Lookup(upper(name))
		if !ok {
			t.Fatalf("%s is not found in %v", name, ad)
		}
		if mine, ok := c.Lookup(name); !ok || mine.String() != e.String() {
			t.Fatalf("%s is %v in a copy of %v", name, mine, ad)
		}
		c.Delete(name)
		if _, ok := c.Lookup(name); ok {
			t.Fatalf("%s is found after it was deleted from %v", name, ad)
		}
	}
	if c.Len() != 0 {
		t.Errorf("%v is left of %v", c, ad)
	}
}

// Evaluation ends, its value can be printed, and compiling and flattening do not change it.
func FuzzEval(f *testing.F) {
	seed(f, false)
	my := mustAd(f, `[a = 1; b = a + 2.5; s = "text"; l = {a, b, s, [x = 1]}; r = [x = a; y = parent.b]; loop = loop + 1;
		t = absTime("2024-02-29T13:14:15Z"); d = relTime(90); u = undefined; e = error; x = y; q = TARGET.y]`)
	target := mustAd(f, `[y = 5; s = "TEXT"; z = TARGET.a; loop = 1 + loop; sum = y + 2.5; more = sum + TARGET.b]`)
	f.Fuzz(func(t *testing.T, src string) {
		e, err := ParseExpr(src)
		if err != nil {
			return
		}
		v := e.Eval(my, target)
		_, _ = v.String(), v.OldString()
		if list, ok := v.List(); ok && len(list) > maxSource {
			t.Errorf("%q gives %d elements", src, len(list))
		}
		e.ReferencesIn(my)
		for _, c := range e.Conjuncts() {
			c.Comparison()
		}
		checkEquivalent(t, src, false, my, target)
		checkEquivalent(t, src, false, nil, nil)
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":2.5,"c":"x","d":null,"e":"\/Expr(a + 1)\/","f":[1,{"g":true}],"h":1e999}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ad := NewAd()
		if err := ad.UnmarshalJSON(data); err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q is not JSON, and was read as %v", data, ad)
		}
		out, err := ad.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again := NewAd()
		if err := again.UnmarshalJSON(out); err != nil {
			t.Fatalf("%s wrote %s, which cannot be read: %v", data, out, err)
		}
		if again.String() != ad.String() {
			t.Errorf("%s read as %v, written and read again as %v", data, ad, again)
		}
	})
}
