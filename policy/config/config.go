// Package config reads every TOML file of the three programs: the admin's policy, agent.toml,
// matchmaker.toml and the user's own configuration.
//
// Decoding is strict. A key that the program does not know is an error, because a misspelt
// "idle_after" that is silently dropped is found out by the owner of a desktop. Every problem names
// file, line and key. The package knows no keys of its own and gives no defaults: what a file leaves
// out, the struct keeps.
package config

import (
	"fmt"
	"os"

	"skua/internal/diag"
)

// MaxSize is the size in bytes that a configuration file may have.
const MaxSize = 256 << 10

// Load decodes the file at path into into, as [Decode] does. The error for a file that is not there
// is an [io/fs.ErrNotExist], so that a caller can go on without an optional one.
func Load(path string, into any) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if info.IsDir() || info.Size() > MaxSize {
		return &diag.Problem{
			What: fmt.Sprintf("%s is a directory or larger than %d kB, so it is no configuration file", path, MaxSize>>10),
			Hint: "give the path of the TOML file",
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return Decode(path, data, into)
}
