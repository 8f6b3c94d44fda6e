package checkpoint

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What stands in a meta file's place in an image of another machine is neither followed nor waited for.
func TestMetaThatIsNoFile(t *testing.T) {
	sample, err := filepath.Abs(filepath.Join("testdata", "v1", MetaName))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		put  func(path string) error
	}{
		{"link", func(path string) error { return os.Symlink(sample, path) }},
		{"pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }},
		{"directory", func(path string) error { return os.Mkdir(path, 0o700) }},
	} {
		dir := t.TempDir()
		if err := tt.put(filepath.Join(dir, MetaName)); err != nil {
			t.Fatal(err)
		}
		if m, err := ReadMeta(dir); err == nil {
			t.Errorf("a %s is read as %+v", tt.name, m)
		}
	}
}
