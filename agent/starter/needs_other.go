//go:build !linux

package starter

// OfSystem is false of every path: no job is moved with its memory on this system.
func OfSystem(string) bool { return false }
