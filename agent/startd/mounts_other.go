//go:build !linux

package startd

// isThere reports whether a shared directory is there.
func isThere(dir string) bool { return isDir(dir) }
