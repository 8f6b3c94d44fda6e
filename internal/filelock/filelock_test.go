package filelock

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	first, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(path); !errors.Is(err, ErrHeld) {
		t.Errorf("a file that is held: %v, want %v", err, ErrHeld)
	}
	first.Close()
	second, err := Take(path)
	if err != nil {
		t.Fatalf("a file that was held: %v", err)
	}
	second.Close()
}
