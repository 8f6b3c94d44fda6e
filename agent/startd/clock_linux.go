package startd

import (
	"golang.org/x/sys/unix"

	"skua/internal/job"
)

// Boottime is the lease clock of a real machine. CLOCK_BOOTTIME goes on while the machine sleeps, so
// that a laptop that wakes knows how long it was away.
func Boottime() job.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("no CLOCK_BOOTTIME: " + err.Error()) // every kernel since 2.6.39 has it
	}
	return job.Instant(ts.Nano())
}
