package classad

import (
	"fmt"
	"testing"
)

func TestReferences(t *testing.T) {
	for _, tt := range []struct{ expr, want string }{
		{"1 + 2", "my [] target []"},
		{"a + A + MY.a", "my [a] target []"},
		{"TARGET.Memory > RequestMemory && TARGET.MEMORY < 5", "my [RequestMemory] target [Memory]"},
		{"OTHER.x + self.y + LEFT.z + RIGHT.w", "my [y z] target [x w]"},
		{`TARGET["x"] + MY["y"] + l[i]`, "my [y l i] target [x]"},
		{"f(a, {b, [c = d; e = c + MY.c + MY.g]})", "my [a b d g] target []"},
		{"TARGET.r.s + q.t", "my [q] target [r]"},
		{"a ? b : c ?: !d", "my [a b c d] target []"},
		{"CurrentTime + TARGET", "my [] target []"},
	} {
		refs := mustParse(t, tt.expr).References()
		if got := fmt.Sprintf("my %v target %v", refs.My, refs.Target); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.expr, got, tt.want)
		}
	}
}

func TestReferencesIn(t *testing.T) {
	my := mustAd(t, "START = KeyboardIdle > IdleAfter && TARGET.Owner != \"x\"\nKeyboardIdle = 5\nIdleAfter = MY.Minutes * Factor\nMinutes = 60\nLoop = Loop + 1")
	refs := mustParse(t, "START && Memory > 5 && Loop").ReferencesIn(my)
	want := "my [START Loop KeyboardIdle IdleAfter Minutes] target [Memory Owner Factor]"
	if got := fmt.Sprintf("my %v target %v", refs.My, refs.Target); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestConjuncts(t *testing.T) {
	got := fmt.Sprint(mustParse(t, "a && (b && (c || d)) && !(e && f)").Conjuncts())
	if want := "[a b c || d !(e && f)]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
