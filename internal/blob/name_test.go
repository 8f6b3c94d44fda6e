package blob

import "testing"

// A tree that was packed on Linux may have names that Windows does not take, which is no damage.
func TestIsName(t *testing.T) {
	for _, tt := range []struct {
		path           string
		linux, windows bool
	}{
		{"state.json", true, true},
		{"deep/er/state", true, true},
		{"a:b", true, false},
		{`deep/a\b`, true, false},
		{"../out", false, false},
		{"/out", false, false},
	} {
		if got := isName(tt.path, true); got != tt.windows {
			t.Errorf("on Windows %q is a name: %v", tt.path, got)
		}
		if got := isName(tt.path, false); got != tt.linux {
			t.Errorf("on Linux %q is a name: %v", tt.path, got)
		}
	}
}
