package probe

import (
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
)

// IdleTime is for how long nobody has used the machine's processors, all of them together, since it started.
func IdleTime() (time.Duration, error) {
	all, err := cpu.Times(false)
	if err != nil {
		return 0, fmt.Errorf("how long the processors were idle: %w", err)
	}
	var idle float64 // seconds
	for _, t := range all {
		idle += t.Idle + t.Iowait
	}
	return time.Duration(idle * float64(time.Second)), nil
}
