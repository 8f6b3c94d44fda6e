package blob

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// Of a directory with too many entries no more is read than tells so.
func TestReadDir(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	const files = 3000
	want := make([]string, files)
	for i := range want {
		want[i] = fmt.Sprintf("%04d", i)
		if err := root.WriteFile(want[i], nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := readDir(root, ".", files)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("there are %d (%v), want %d in order", len(names), err, files)
	}
	n := testing.AllocsPerRun(1, func() { _, err = readDir(root, ".", 10) })
	if !errors.Is(err, ErrTooLarge) || n >= files {
		t.Errorf("of more than ten: %v, and memory was asked for %v times", err, n)
	}
}
