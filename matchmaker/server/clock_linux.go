package server

import (
	"fmt"

	"golang.org/x/sys/unix"

	"skua/internal/job"
)

// openClock gives the machine's lease clock. CLOCK_BOOTTIME goes on while the machine sleeps: a personal
// pool's matchmaker runs on a laptop.
func openClock() (job.LeaseClock, error) {
	read := func() (job.Instant, error) {
		var ts unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
		return job.Instant(ts.Nano()), err
	}
	if _, err := read(); err != nil {
		return nil, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	return func() job.Instant {
		now, _ := read() // a clock that could be read once can be read
		return now
	}, nil
}
