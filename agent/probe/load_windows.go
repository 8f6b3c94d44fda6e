package probe

import (
	"context"
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
)

// systemLoad averages the cpus in use, since Windows keeps no average. gopsutil's own would wake up
// every five seconds.
func systemLoad(string) func(context.Context, time.Time) (float64, error) {
	var total average
	var busy busyTime
	return func(ctx context.Context, now time.Time) (float64, error) {
		times, err := cpu.TimesWithContext(ctx, false)
		if err != nil || len(times) == 0 {
			return 0, fmt.Errorf("read cpu times: %w", orNone(err))
		}
		t := times[0]
		total.add(now, busy.since(now, t.User+t.System+t.Irq))
		return total.value, nil
	}
}
