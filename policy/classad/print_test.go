package classad

import (
	"encoding/json"
	"testing"
)

func TestPrint(t *testing.T) {
	for _, tt := range []struct{ src, new, old string }{
		{"1+2*  3", "1 + 2 * 3", "1 + 2 * 3"},
		{"(1+2)*3", "(1 + 2) * 3", "(1 + 2) * 3"},
		{"-5", "-5", "-5"},
		{"- 5", "- 5", "- 5"},
		{"- - 5", "-- 5", "-- 5"},
		{"1e999 .x", `real("INF").x`, `real("INF").x`},
		{"- 1e999", `-real("INF")`, `-real("INF")`},
		{"-x.y[-1]", "-x.y[-1]", "-x.y[-1]"},
		{"!a||~b>0", "!a || ~b > 0", "!a || ~b > 0"},
		{"a is b ? 1.5 : c =!= 1e20", "a is b ? 1.500000000000000E+00 : c isnt 1.000000000000000E+20", "a =?= b ? 1.5 : c =!= 1E+20"},
		{"a?:b", "a ?: b", "a ?: b"},
		{"0.1 + 123456789.123456789", "1.000000000000000E-01 + 1.2345678912345679E+08", "0.1 + 123456789.12345679"},
		{`"tab\t q\" b\\ é"`, `"tab\t q\" b\\ \303\251"`, "\"tab\t q\\\" b\\ é\""},
		{`"a" "b"`, `"ab"`, `"ab"`},
		{"'odd name' + 'is' + 'x'", "'odd name' + 'is' + x", "'odd name' + 'is' + x"},
		{"r.'odd name'.Parent", "r.'odd name'.'Parent'", "r.'odd name'.'Parent'"},
		{"1 .x", "1 .x", "1 .x"},
		{"{ }", "{  }", "{  }"},
		{"{1,{2},[a=1;b={}]}", "{ 1, { 2 }, [ a = 1; b = {  } ] }", "{ 1, { 2 }, [ a = 1; b = {  } ] }"},
		{"IfThenElse( a ,1, .b )", "IfThenElse(a, 1, .b)", "IfThenElse(a, 1, .b)"},
		{"MY.x >>> TARGET.y", "MY.x >>> TARGET.y", "MY.x >>> TARGET.y"},
		{`absTime("2024-02-29 13:14:15Z")`, `absTime("2024-02-29T13:14:15-00:00")`, `absTime("2024-02-29T13:14:15-00:00")`},
	} {
		e := mustParse(t, tt.src)
		if got := e.String(); got != tt.new {
			t.Errorf("%s: printed %s, want %s", tt.src, got, tt.new)
		}
		if got := e.OldString(); got != tt.old {
			t.Errorf("%s: printed in the old syntax %s, want %s", tt.src, got, tt.old)
		}
		if old, err := ParseOldExpr(tt.old); err != nil || old.String() != tt.new {
			t.Errorf("%s: parsed in the old syntax %v, %v", tt.old, old, err)
		}
	}
}

// TestReadable: what people read has no more digits than the number needs, and is the same number.
func TestReadable(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"x >= 9.2", "x >= 9.2"},
		{"1.5 + 0.1 + 3.0 - 0.0", "1.5 + 0.1 + 3.0 - 0.0"},
		{"1.0E20 * 1.0E-9", "1E+20 * 1E-09"},
		{"123456789.123456789", "123456789.12345679"},
		{"a is 7", "a =?= 7"},
	} {
		e := mustParse(t, tt.src)
		got := e.ReadableString()
		if again, err := ParseOldExpr(got); got != tt.want || err != nil || again.String() != e.String() {
			t.Errorf("%s: printed %s, want %s; read again it is %v (%v)", tt.src, got, tt.want, again, err)
		}
	}
}

func TestAdPrint(t *testing.T) {
	ad := mustAd(t, "B = 1\n'a b' = \"x\\y\"\nC = [d = 2.5]")
	if got, want := ad.String(), `[ B = 1; 'a b' = "x\\y"; C = [ d = 2.500000000000000E+00 ] ]`; got != want {
		t.Errorf("printed %s, want %s", got, want)
	}
	if got, want := ad.OldString(), "B = 1\n'a b' = \"x\\y\"\nC = [ d = 2.5 ]\n"; got != want {
		t.Errorf("printed %s, want %s", got, want)
	}
}

func TestJSON(t *testing.T) {
	ad := mustAd(t, `[i = 9007199254740993; r = 2.0; s = "a\"\\\n<é>"; b = true; u = undefined; e = error;
		x = a + "q"; l = {1, b, {}}; n = [m = 1]; inf = 1e999; bad = "\377"; trap = "/Expr(1)/"; 'a b' = 1]`)
	data, err := json.Marshal(struct{ Job Ad }{*ad})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Job":{"i":9007199254740993,"r":2.000000000000000E+00,"s":"a\"\\\n<é>","b":true,"u":null,"e":"\/Expr(error)\/",` +
		`"x":"\/Expr(a + \"q\")\/","l":[1,"\/Expr(b)\/",[]],"n":{"m":1},"inf":"\/Expr(real(\"INF\"))\/",` +
		`"bad":"\/Expr(\"\\377\")\/","trap":"\/Expr(\"/Expr(1)/\")\/","a b":1}}`
	if want, got := compact(t, want), compact(t, string(data)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back struct{ Job Ad }
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	ad.Set("inf", mustParse(t, `real("INF")`))
	if back.Job.String() != ad.String() {
		t.Errorf("read back as\n%v, want\n%v", &back.Job, ad)
	}
}

// compact decodes and encodes, so that the ways to write the same string do not matter.
func compact(t *testing.T, src string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(src), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestJSONErrors(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{`[]`, "classad: reading JSON: 1:1: a JSON ad must be an object"},
		{`{"a":{"b":"/Expr(1 +)/"}}`, "classad: reading JSON: 1:11: in the expression, at 1:4: the text ends where a value should be"},
		{`{"a":1} {}`, "classad: reading JSON: 1:9: there is text after the end"},
		{`{"a":`, "classad: reading JSON: 1:6: expected a value"},
		{`{"a":1,}`, "classad: reading JSON: 1:8: expected an attribute name in quotes"},
		{"{\"a\":1\n \"b\":2}", "classad: reading JSON: 2:2: expected , or }"},
		{`{"a" 1}`, "classad: reading JSON: 1:6: expected : after the name a"},
		{`{"a":[1 2]}`, "classad: reading JSON: 1:9: expected , or ]"},
		{`{"a":01}`, "classad: reading JSON: 1:7: expected , or }"},
		{`{"a":1.}`, "classad: reading JSON: 1:8: expected a digit"},
		{`{"a":"x}`, "classad: reading JSON: 1:6: the string is not closed"},
		{`{"a":"\u0000"}`, "classad: reading JSON: 1:14: a string cannot contain a NUL byte"},
	} {
		if err := NewAd().UnmarshalJSON([]byte(tt.src)); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got error %v, want %s", tt.src, err, tt.want)
		}
	}
}
