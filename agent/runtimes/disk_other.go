//go:build !unix

package runtimes

// isDisk reports whether an error is the disk's and not the archive's. There are no jobs with runtime roots here.
func isDisk(error) bool { return false }
