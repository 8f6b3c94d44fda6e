//go:build !linux && !windows

package startd

import (
	"time"

	"skua/internal/job"
)

var started = time.Now()

// Boottime is the lease clock of a machine that has no better one: it may stand still in sleep.
func Boottime() job.Instant { return job.Instant(time.Since(started)) }
