package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/filelock"
)

// One agent at a time runs on a directory: another one waits for it to end, for a while.
func TestAgentIsAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		first, err := beAlone(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = beAlone(t.Context(), dir)
		if !errors.Is(err, filelock.ErrHeld) || !strings.Contains(err.Error(), "an agent runs already") {
			t.Errorf("beside an agent that runs: %v", err)
		}
		time.AfterFunc(handOverPatience/2, func() { first.Close() })
		next, err := beAlone(t.Context(), dir)
		if err != nil {
			t.Fatalf("after one that ends: %v", err)
		}
		next.Close()
	})
}
