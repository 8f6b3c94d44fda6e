package classad

import (
	"errors"
	"strings"
	"testing"
)

func mustParse(tb testing.TB, src string) *Expr {
	tb.Helper()
	e, err := ParseExpr(src)
	if err != nil {
		tb.Fatalf("%s: %v", src, err)
	}
	return e
}

func mustAd(tb testing.TB, src string) *Ad {
	tb.Helper()
	parse := ParseOldAd
	if strings.HasPrefix(src, "[") {
		parse = ParseAd
	}
	ad, err := parse(src)
	if err != nil {
		tb.Fatalf("%s: %v", src, err)
	}
	return ad
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"", "1:1: the text ends where a value should be"},
		{"1 +\n  * 2", "2:3: unexpected * where a value should be"},
		{"f(1, 2", "1:7: expected ) after the arguments of f, found the end"},
		{"a b", "1:3: unexpected b after the end of the expression"},
		{"0x10", "1:2: unexpected letter after the number 0"},
		{"012", "1:1: octal numbers are not supported: 012"},
		{"1 + 2.", "1:7: expected a digit after the decimal point"},
		{`a == "x`, "1:6: string is not closed"},
		{"'x", "1:1: quoted name is not closed"},
		{"1 /* 2", "1:3: comment is not closed"},
		{`"a\0b"`, "1:4: a string cannot contain a NUL byte"},
		{"a ? b", "1:6: expected : in the conditional, found the end"},
		{"{1, 2; 3}", "1:6: expected } to close the list, found ;"},
		{"[a = 1, b = 2]", "1:7: expected ; or ] after the value of a, found ,"},
		{"[true = 1]", "1:2: unexpected true where an attribute name should be; put it in single quotes"},
		{"a = 1", "1:3: unexpected = after the end of the expression"},
		{"a # b", `1:3: unexpected character '#'`},
		{`absTime("soon")`, `1:1: absTime: expected a time like "2024-02-29T13:14:15+01:00"`},
	} {
		_, err := ParseExpr(tt.src)
		var se *SyntaxError
		if !errors.As(err, &se) || se.Error() != tt.want {
			t.Errorf("%q: got error %v, want %s", tt.src, err, tt.want)
		}
	}
}

func TestOldAdErrors(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"A = 1\n\n# note\nB = (2", "4:7: expected ) to close the parenthesis, found the end"},
		{"A 1", "1:3: expected = after the name A, found a number"},
		{"A = 1\r\n = 2", "2:2: expected an attribute name"},
		{"A =", "1:4: the text ends where a value should be"},
	} {
		_, err := ParseOldAd(tt.src)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: got error %v, want %s", tt.src, err, tt.want)
		}
	}
}

func TestCaret(t *testing.T) {
	_, err := ParseExpr(strings.Repeat(" ", 200) + "\tx @ " + strings.Repeat("y", 200))
	text, mark, _ := strings.Cut(err.(*SyntaxError).Caret(), "\n")
	if len(text) > 80 || text[len(mark)-1] != '@' {
		t.Errorf("the mark is not under @:\n%s\n%s", text, mark)
	}
}

func TestHugeTexts(t *testing.T) {
	repeat := strings.Repeat
	for _, tt := range []struct {
		name, src string
		ok        bool
	}{
		{"a thousand alternatives", "a" + repeat(" || a", 1000), true},
		{"too many alternatives", "a" + repeat(" || a", maxHeight+1), false},
		{"parentheses", repeat("(", maxNesting-1) + "1" + repeat(")", maxNesting-1), true},
		{"too many parentheses", repeat("(", 1<<20) + "1" + repeat(")", 1<<20), false},
		{"open brackets", repeat("[a=", 1<<20), false},
		{"open lists", repeat("{", 1<<20), false},
		{"signs", repeat("-", 1<<20) + "1", false},
		{"conditionals", repeat("a?b:", 1<<20) + "c", false},
		{"subscripts", "a" + repeat("[0]", 1<<20), false},
		{"beyond the size", repeat(" ", maxSource) + "1", false},
	} {
		if _, err := ParseExpr(tt.src); (err == nil) != tt.ok {
			t.Errorf("%s: got error %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}
