package classad

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// An evaluation that asks for too much ends soon, as an error.
func TestEvaluationIsBounded(t *testing.T) {
	doubling := func(f string) string {
		var b strings.Builder
		b.WriteString("x0 = \"ab\"\n")
		for i := range 60 {
			fmt.Fprintf(&b, "x%d = %s(x%d, x%d)\n", i+1, f, i, i)
		}
		return b.String()
	}
	var chain strings.Builder
	for i := range maxReferences + 1 {
		fmt.Fprintf(&chain, "x%d = x%d + 1\n", i, i+1)
	}
	big := `s = "` + strings.Repeat("a", maxString) + "\"\nl = {" + strings.Repeat("s, ", 1000) + "s}\n"
	for _, tt := range []struct{ name, ad, expr string }{
		{"itself", "a = a", "a"},
		{"circle", "a = b + 1\nb = {1, c}[1]\nc = MY.a", "isError(a)"},
		{"circle through eval", `a = eval("a")`, "a"},
		{"circle through a list", "l = {l[0]}", "l[0]"},
		{"circle through each context", "a = evalInEachContext(a, {[b = 1]})", "a"},
		{"chain that is too long", chain.String(), "x0"},
		{"2^60 letters", doubling("strcat"), "size(x60)"},
		{"2^60 sums", strings.NewReplacer("strcat(", "", ", ", " + ", ")", "", `"ab"`, "n\nn = 1").Replace(doubling("strcat")), "x60"},
		{"much to compare", big, "sum(evalInEachContext(size(l) > 0 && member(s, {s, s, s, s}), {[], [], []})) + countMatches(member(\"b\", l), {" + strings.Repeat("[],", 500) + "[]})"},
		{"much to join", big, `join(",", l)`},
		{"long patterns over long texts", big, `regexp("` + strings.Repeat("(x?y?){200}", 10) + `z", s)`},
		{"patterns that explode", `s = "` + strings.Repeat("a", 40) + `!"`, `regexp("^(?=a)(a+)+$", s)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			my, err := ParseOldAd(tt.ad)
			if err != nil {
				t.Fatal(err)
			}
			if v, ok := try(mustParse(t, tt.expr).root, my, my); ok {
				t.Errorf("got %.100s, want a failed evaluation", v)
			}
		})
	}
}

func TestDeepTrees(t *testing.T) {
	e := mustParse(t, "a"+strings.Repeat(" + 1", maxHeight-2))
	if got := e.Eval(mustAd(t, "a = 1"), nil); got.String() != fmt.Sprint(maxHeight-1) {
		t.Errorf("got %v, want %d", got, maxHeight-1)
	}
	if _, err := ParseExpr(e.String()); err != nil {
		t.Error(err)
	}
	e.References()
}

func TestConcurrentReading(t *testing.T) {
	job := mustAd(t, "Requirements = TARGET.Memory > RequestMemory && regexp(\"^s\", TARGET.Name)\nRequestMemory = 5")
	machine := mustAd(t, `[Memory = 6; Name = "slot1"; Requirements = TARGET.RequestMemory < 10]`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if !Match(job, machine) {
					t.Error("no match")
				}
				_, _ = job.String(), job.Flat()
			}
		})
	}
	wg.Wait()
}

func TestValueReaders(t *testing.T) {
	my := mustAd(t, `[n = 3; r = 2.5; b = true; s = "x"; l = {n, [m = n]}; big = 1e300; t = absTime("2024-02-29T13:14:15+01:00")]`)
	if i, ok := my.Int("r"); i != 2 || !ok {
		t.Errorf("Int(r) = %d, %v", i, ok)
	}
	if f, ok := my.Real("n"); f != 3 || !ok {
		t.Errorf("Real(n) = %g, %v", f, ok)
	}
	if b, ok := my.Bool("n"); !b || !ok {
		t.Errorf("Bool(n) = %v, %v", b, ok)
	}
	if _, ok := my.Str("n"); ok {
		t.Error("Str(n) is ok")
	}
	if _, ok := my.Int("s"); ok {
		t.Error("Int(s) is ok")
	}
	if _, ok := my.Int("missing"); ok {
		t.Error("Int(missing) is ok")
	}
	l, _ := my.Eval("l", nil).List()
	if len(l) != 2 || l[0].String() != "3" {
		t.Fatalf("List(l) = %v", l)
	}
	ad, ok := l[1].Ad()
	if !ok || ad.Len() != 1 {
		t.Errorf("Ad = %v, %v", ad, ok)
	}
	ad.SetInt("m", 7) // a copy
	if got := mustParse(t, "l[1].m").Eval(my, nil); got.String() != "3" {
		t.Errorf("changing an ad value changed the ad: %v", got)
	}
	if secs, east, ok := my.Eval("t", nil).Time(); secs != 1709208855 || east != 3600 || !ok {
		t.Errorf("Time = %d, %d, %v", secs, east, ok)
	}
}

func TestRegexps(t *testing.T) {
	for _, tt := range []struct{ expr, want string }{
		{`regexp("c$", "abc\n")`, "true"},            // $ before a final line break, as in Perl
		{`regexp("c\\z", "abc\n")`, "false"},         //
		{`regexp("a\\sb", "a\vb")`, "true"},          // vertical tab is white space
		{`regexp("^.$", "é")`, "false"},              // bytes, not characters
		{`regexps("(.)(\\w)$", "éx", "\\2")`, `"x"`}, //
		{`regexp("(a)\\1", "aa")`, "true"},           // needs the backtracking engine
		{`regexps("(?<=a)(é)", "aé", "\\1") == "é"`, "true"},
		{`replaceall("(?<=a)b", "abab", "x")`, `"axax"`},
		{`regexp("(", "a")`, "error"},
		{`regexp("` + strings.Repeat("a", maxPattern+1) + `", "a")`, "error"},
	} {
		if got := mustParse(t, tt.expr).Eval(nil, nil).String(); got != tt.want {
			t.Errorf("%.60s: got %s, want %s", tt.expr, got, tt.want)
		}
	}
}

// Where a result of HTCondor's is plainly broken, ours is not.
func TestSanerThanHTCondor(t *testing.T) {
	for _, tt := range []struct{ expr, want string }{
		{`pow(-2, 3)`, "-8"},
		{`pow(-1, 9223372036854775807)`, "-1"},
		{`stringListMax("-3,-10")`, "-3"},
		{`string(relTime(strcat("01:", "30")))`, `"01:30"`},
		{`isAbsTime(absTime("2024-02-29T13:14:15Z", 3600))`, "true"},
	} {
		if got := mustParse(t, tt.expr).Eval(nil, nil).String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.expr, got, tt.want)
		}
	}
}
