package probe

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is what this thread has used of a cpu.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(ts.Nano())
}

// lowestPriority lets everybody else go before this thread.
func lowestPriority() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19) }
