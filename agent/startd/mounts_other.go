//go:build !linux

package startd

import "os"

// isThere reports whether a shared directory is there.
func isThere(dir string) bool {
	fi, err := os.Stat(dir)
	return err == nil && fi.IsDir()
}
