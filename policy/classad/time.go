package classad

import (
	"fmt"
	"time"
)

func timeArithmetic(o op, x, y Value) Value { return errorValue }

// formatAbsTime prints a time in ISO 8601 with its own offset.
func formatAbsTime(secs int64, east int) string {
	return time.Unix(secs, 0).In(time.FixedZone("", east)).Format("2006-01-02T15:04:05-07:00")
}

// formatRelTime prints days+hours:minutes:seconds.
func formatRelTime(f float64) string {
	return fmt.Sprint(f)
}
