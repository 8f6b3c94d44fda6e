//go:build !linux

package startd

import "os"

// replace puts the file from in the place of to.
func replace(from, to string) error { return os.Rename(from, to) }
