package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/agent/starter"
)

// What somebody else has put where Skua's directory will be is not used, and named.
func TestRefusesDirectoriesOfOthers(t *testing.T) {
	skua := filepath.Join(t.TempDir(), "Skua")
	config, dir, logs := defaultConfig, defaultDir, logDir
	defaultConfig, defaultDir, logDir = filepath.Join(skua, "agent.toml"), filepath.Join(skua, "agent"), filepath.Join(skua, "log")
	t.Cleanup(func() { defaultConfig, defaultDir, logDir, checkOwner = config, dir, logs, starter.CheckOwner })
	if err := keepOthersOut(defaultDir); err != nil {
		t.Fatalf("its own directory is refused: %v", err)
	}
	if err := os.WriteFile(defaultConfig, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, theirs := range []string{"", skua, defaultDir, defaultConfig, logDir} {
		checkOwner = func(path string) error {
			if path == theirs {
				return fmt.Errorf("%s belongs to mallory: %w", path, starter.ErrOthers)
			}
			return starter.CheckOwner(path)
		}
		err := keepOthersOut(defaultDir)
		if theirs == "" && err == nil {
			continue
		}
		if !errors.Is(err, starter.ErrOthers) || !strings.Contains(err.Error(), theirs+" belongs to mallory") {
			t.Errorf("where %q is somebody else's: %v", theirs, err)
		}
	}
}
