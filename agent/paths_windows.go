package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var (
	defaultConfig = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent.toml")
	defaultDir    = filepath.Join(os.Getenv("ProgramData"), "Skua", "agent")
)

// controlOf is the pipe of an agent with such a directory. Pipes are in no directory, so the name of one that is not the
// machine's usual has a part that depends on its directory.
func controlOf(dir string) string {
	const usual = `\\.\pipe\skua-agent`
	if dir == defaultDir {
		return usual
	}
	sum := sha256.Sum256([]byte(strings.ToLower(filepath.Clean(dir))))
	return fmt.Sprintf("%s-%x", usual, sum[:8])
}
