package job

import (
	"strings"
	"testing"
)

func TestCheckRuntimeName(t *testing.T) {
	for name, good := range map[string]bool{
		"debian12": true, "ubuntu-24.04": true, "7": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "-x": false, ".x": false, "Debian": false, "a b": false, "a/b": false, "é": false, "a\n": false,
		"a_b": false, "a..b": true,
	} {
		if err := CheckRuntimeName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
