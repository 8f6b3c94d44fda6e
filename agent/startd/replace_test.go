package startd

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	for _, before := range []string{"", "old and longer"} {
		dir := t.TempDir()
		from, to := filepath.Join(dir, "claim.json.tmp"), filepath.Join(dir, "claim.json")
		write(t, from, "new")
		if before != "" {
			write(t, to, before)
		}
		if err := replace(from, to); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(to)
		if err != nil || string(got) != "new" {
			t.Errorf("in the place of %q there is %q: %v", before, got, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("there are %v: %v", left, err)
		}
	}
}

// A job's input may have the name of one of the files that tell it of itself.
func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	write(t, outside, "ours")
	scratch := filepath.Join(dir, "scratch")
	at := func(name string) string { return filepath.Join(scratch, name) }
	if err := os.MkdirAll(at("dir/deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, at("file"), "a longer input")
	if err := os.Symlink(outside, at("link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"nothing", "file", "dir", "link"} {
		if err := writeNew(root, name, "ad"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(at(name)); err != nil || string(got) != "ad" {
			t.Errorf("%s: read as %q: %v", name, got, err)
		}
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "ours" {
		t.Errorf("the file outside is %q: %v", got, err)
	}
}
