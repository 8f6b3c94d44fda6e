package walk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// directory makes one with empty files, and what they lie in.
func directory(t *testing.T, files ...string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	for _, name := range files {
		if err := errors.Join(root.MkdirAll(path.Dir(name), 0o755), root.WriteFile(name, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTree(t *testing.T) {
	root := directory(t, "a", "dir/b", "dir/deep/c", "other/d")
	if err := root.Symlink("dir", "link"); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	for _, tt := range []struct{ top, want string }{
		{".", ". a dir dir/b dir/deep dir/deep/c link other other/d"},
		{"dir", "dir dir/b dir/deep dir/deep/c"},
		{"link", "link link/b link/deep link/deep/c"}, // the caller names it
		{"a", "a"},
	} {
		var got []string
		err := Tree(root, tt.top, func(name string, e fs.DirEntry, err error) error {
			if parent := path.Dir(name); name != tt.top && !slices.Contains(got, parent) {
				t.Errorf("%s comes before %s", name, parent)
			}
			got = append(got, name)
			return err
		})
		if slices.Sort(got); err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("below %s there is %q (%v), want %q", tt.top, got, err, tt.want)
		}
	}
	if err := Tree(root, "none", func(_ string, _ fs.DirEntry, err error) error { return err }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below what is not there: %v", err)
	}
}

// Of a directory with very many entries no more is read than is wanted. What is counted is how often memory is asked for,
// of which each entry takes some.
func TestLargeDirectory(t *testing.T) {
	const entries = 12_000
	var files []string
	for i := range entries {
		files = append(files, fmt.Sprint(i))
	}
	root := directory(t, files...)
	enough := errors.New("enough")
	for name, do := range map[string]func() error{
		"a tree": func() error {
			return Tree(root, ".", func(name string, _ fs.DirEntry, _ error) error {
				if name != "." {
					return enough
				}
				return nil
			})
		},
		"entries": func() error { return Entries(root, ".", func(fs.DirEntry) error { return enough }) },
	} {
		var err error
		if n := testing.AllocsPerRun(1, func() { err = do() }); n >= entries || !errors.Is(err, enough) {
			t.Errorf("%s: memory was asked for %v times, for %d entries: %v", name, n, entries, err)
		}
	}
}

// Directories can lie deeper than a path reaches. They do not take memory with their names.
func TestPathsWithoutEnd(t *testing.T) {
	root := directory(t)
	deep := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 200)+"/", 50), "/")
	if err := root.MkdirAll(deep, 0o755); err != nil {
		t.Skip("no such paths here:", err)
	}
	longest, told := 0, false
	err := Tree(root, ".", func(name string, _ fs.DirEntry, err error) error {
		longest, told = max(longest, len(name)), told || err != nil
		return nil
	})
	if err != nil || longest < MaxPath || longest > MaxPath+256 || !told {
		t.Errorf("the longest path that is visited has %d bytes, and that there is more was told: %v, %v", longest, told, err)
	}
}
