//go:build unix

package runtimes

import (
	"errors"
	"syscall"
)

// isDisk reports whether an error is the disk's and not the archive's.
func isDisk(err error) bool {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
