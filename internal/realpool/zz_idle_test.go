package realpool_test

import (
	"fmt"
	"testing"
	"time"
)

func TestDeskIdle(t *testing.T) {
	c := idleCost(t, 100*time.Second)
	fmt.Printf("idle: pss_mb=%.1f cpu_pct=%.4f wakeups_per_s=%.2f\n", c.memory/1e6, c.cpu*100, c.wakeups)
}
