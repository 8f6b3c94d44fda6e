package probe

import (
	"context"
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
)

// systemAverage is the load average that Windows does not keep.
type systemAverage struct {
	total average
	busy  busyTime
}

// systemLoad averages the cpus in use. gopsutil's own average would wake up every five seconds.
func (m *LoadMeter) systemLoad(ctx context.Context, now time.Time) (float64, error) {
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil || len(times) == 0 {
		return 0, fmt.Errorf("read cpu times: %w", orNone(err))
	}
	t := times[0]
	m.sys.total.add(now, m.sys.busy.since(now, t.User+t.System+t.Irq))
	return m.sys.total.value, nil
}
