package checkpoint

import (
	"os"
	"strings"
	"testing"
)

// Outside a claim's init the deadline's kill would reach every process of the machine.
func TestOnlyAnInitMayCall(t *testing.T) {
	if os.Getpid() == 1 {
		t.Skip("this test is pid 1 itself")
	}
	_, err := Dump(t.Context(), Options{Path: "/nonexistent", Pid: 2})
	if err == nil || !strings.Contains(err.Error(), "claim's init") {
		t.Errorf("Dump gives %v", err)
	}
}
