//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// become has this process be another program from now on. It returns only when that fails.
func become(path string, args ...string) error {
	err := syscall.Exec(path, append([]string{filepath.Base(path)}, args...), os.Environ())
	return fmt.Errorf("start %s: %w", path, err)
}
