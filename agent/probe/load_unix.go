//go:build !windows

package probe

import (
	"context"
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v3/load"
)

// systemAverage is nothing here: the kernel keeps the average.
type systemAverage struct{}

// systemLoad reads the kernel's own average.
func (m *LoadMeter) systemLoad(ctx context.Context, _ time.Time) (float64, error) {
	avg, err := load.AvgWithContext(gopsutilRoots(ctx, FactsConfig{Proc: m.proc}))
	if err != nil {
		return 0, fmt.Errorf("read load: %w", err)
	}
	return avg.Load1, nil
}
