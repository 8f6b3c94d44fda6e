//go:build !linux

package bus

import (
	"syscall"
	"time"
)

// limitSilence leaves it to the system how often it sends again; Windows does so for some twenty seconds.
func limitSilence(syscall.RawConn, time.Duration) error { return nil }
