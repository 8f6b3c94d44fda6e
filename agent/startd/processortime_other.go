//go:build !unix && !windows

package startd

import "time"

// ProcessorTime is what this process has used of the processors so far; 0 if that cannot be told.
func ProcessorTime() time.Duration { return 0 }
