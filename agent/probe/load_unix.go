//go:build !windows

package probe

import (
	"context"
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v3/load"
)

// systemLoad reads the kernel's own average.
func systemLoad(proc string) func(context.Context, time.Time) (float64, error) {
	return func(ctx context.Context, _ time.Time) (float64, error) {
		avg, err := load.AvgWithContext(gopsutilRoots(ctx, FactsConfig{Proc: proc}))
		if err != nil {
			return 0, fmt.Errorf("read load: %w", err)
		}
		return avg.Load1, nil
	}
}
