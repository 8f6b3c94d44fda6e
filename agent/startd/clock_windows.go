package startd

import (
	"golang.org/x/sys/windows"

	"skua/internal/job"
)

// Boottime is the lease clock of a real machine. Windows counts the time asleep in it; its step of
// 16 ms is nothing to a lease.
func Boottime() job.Instant { return job.Instant(windows.DurationSinceBoot()) }
