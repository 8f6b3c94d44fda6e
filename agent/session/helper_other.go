//go:build !linux

package session

// MaybeHelper does nothing on systems where sessions have no helper.
func MaybeHelper() {}
