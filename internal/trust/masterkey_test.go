package trust

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMasterKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	open := func(path string) *MasterKey {
		t.Helper()
		k, err := OpenMasterKey(path)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open(path)
	if open(path).Derive("image", "1.0") != k.Derive("image", "1.0") {
		t.Error("the key of an image changes when the master key is opened again")
	}
	for _, other := range [][32]byte{
		k.Derive("image", "1.1"), k.Derive("mirror", "1.0"),
		open(filepath.Join(t.TempDir(), "master.key")).Derive("image", "1.0"),
	} {
		if other == k.Derive("image", "1.0") {
			t.Error("two different things have one key")
		}
	}
	for name, spoil := range map[string]func() error{
		"cut":          func() error { return os.Truncate(path, 10) },
		"open to all":  func() error { return os.Chmod(path, 0o644) },
		"empty":        func() error { return os.Truncate(path, 0) },
		"unacceptable": func() error { return os.WriteFile(path, []byte("no key at all"), 0o600) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenMasterKey(path); err == nil {
			t.Errorf("a key file that is %s was taken", name)
		}
	}
}
