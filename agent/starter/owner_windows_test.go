package starter

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"
)

// Who makes a directory first where everybody may make one does not keep it.
func TestMayOwn(t *testing.T) {
	sid := func(text string) *windows.SID {
		s, err := windows.StringToSid(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const agent = "S-1-5-21-1-2-3-1001"
	for owner, want := range map[string]bool{
		"S-1-5-18":            true,  // the system
		"S-1-5-32-544":        true,  // administrators
		agent:                 true,  // itself
		"S-1-5-21-1-2-3-1002": false, // somebody else
		"S-1-5-19":            false, // LocalService, which jobs are
		"S-1-5-32-545":        false, // all users
		"S-1-1-0":             false, // everybody
	} {
		if got := mayOwn(sid(owner), sid(agent)); got != want {
			t.Errorf("%s may own what the agent has: %v, want %v", owner, got, want)
		}
	}
}

func TestOwnDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		if err := CheckOwner(path); err != nil {
			t.Error(err)
		}
	}
	if err := CheckOwner(filepath.Join(dir, "none")); err == nil {
		t.Error("what is not there belongs to the agent")
	}
}
