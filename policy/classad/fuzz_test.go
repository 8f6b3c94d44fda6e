package classad

import (
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

// What parses is printed, parses again and prints the same.
func FuzzParse(f *testing.F) {
	seed(f, false)
	f.Fuzz(func(t *testing.T, src string) {
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
	})
}

func FuzzParseOld(f *testing.F) {
	seed(f, true)
	f.Fuzz(func(t *testing.T, src string) {
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

func FuzzParseOldAd(f *testing.F) {
	f.Add("A = 1\nB = \"x\\y\"\n\n# c\n'c d' = A + TARGET.B\r\n")
	f.Fuzz(func(t *testing.T, src string) {
		ad, err := ParseOldAd(src)
		if err != nil {
			return
		}
		again, err := ParseAd(ad.String())
		if err != nil || again.String() != ad.String() {
			t.Errorf("%q is %v, and then %v: %v", src, ad, again, err)
		}
	})
}

// Evaluation ends, and its value can be printed.
func FuzzEval(f *testing.F) {
	seed(f, false)
	my := mustAd(f, `[a = 1; b = a + 2.5; s = "text"; l = {a, b, s, [x = 1]}; r = [x = a; y = parent.b]; loop = loop + 1;
		t = absTime("2024-02-29T13:14:15Z"); d = relTime(90); u = undefined; e = error; x = y; q = TARGET.y]`)
	target := mustAd(f, `[y = 5; s = "TEXT"; z = TARGET.a]`)
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
		e.Eval(nil, nil)
		e.ReferencesIn(my)
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":2.5,"c":"x","d":null,"e":"\/Expr(a + 1)\/","f":[1,{"g":true}],"h":1e999}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ad := NewAd()
		if ad.UnmarshalJSON(data) != nil {
			return
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
