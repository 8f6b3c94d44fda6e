//go:build !linux

package probe

import "time"

var started = time.Now()

// threadTime is the time that has passed: the machine is idle when it is asked for.
func threadTime() time.Duration { return time.Since(started) }

func lowestPriority() {}
