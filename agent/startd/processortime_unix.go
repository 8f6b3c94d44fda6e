//go:build unix

package startd

import (
	"time"

	"golang.org/x/sys/unix"
)

// ProcessorTime is what this process has used of the processors so far; 0 if that cannot be told.
func ProcessorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
