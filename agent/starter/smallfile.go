//go:build linux || windows

package starter

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxSmallFile is how much is read of a file of ours.
const maxSmallFile = 64 << 10

// readJSON reads a small file.
func readJSON(path string, v any) error {
	b, err := readSmall(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON writes a small file so that whoever reads it finds all of it or what was there before.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// lastLine returns the last line of a log, for an error message.
func lastLine(path string) string {
	b, _ := readSmall(path)
	lines := slices.Collect(strings.Lines(strings.TrimSpace(string(b))))
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSmallFile))
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
