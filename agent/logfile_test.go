package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogFileStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "agent.log")
	const limit = 1000
	for range 2 { // the second agent goes on with what the first has left
		l, err := openLogFile(path, limit)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := fmt.Fprintf(l, "line %03d of the log\n", i); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for _, name := range []string{path + ".old", path} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 || len(b) > limit {
			t.Errorf("%s has %d bytes", name, len(b))
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	for i, line := range lines {
		if want := fmt.Sprintf("line %03d of the log", 100-len(lines)+i); line != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
}
