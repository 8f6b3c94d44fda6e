package classad

import "testing"

func TestVet(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"ifThenElse(a, 1, 2) + size(b)", ""},
		{"1 +\n  ifThenEls(a, 1, 2)", "2:3: there is no function ifThenEls; did you mean ifThenElse?"},
		{"[x = {strcatt(\"a\")}]", "1:7: there is no function strcatt; did you mean strcat?"},
		{"frobnicate(1)", "1:1: there is no function frobnicate"},
		{"a && substr(b)", "1:6: substr takes 2 to 3 arguments, not 1"},
		{"floor()", "1:1: floor takes 1 argument, not 0"},
		{"(1 + SIZE(1, 2)).x", "1:6: size takes 1 argument, not 2"},
	} {
		e := mustParse(t, tt.src)
		got := ""
		if found := e.Vet(tt.src); len(found) > 0 {
			got = found[0].Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.src, got, tt.want)
		}
	}
}

func TestFunctions(t *testing.T) {
	if n := len(Functions()); n != 94 {
		t.Errorf("there are %d functions, want HTCondor's 94", n)
	}
}
