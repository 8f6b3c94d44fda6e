package probe

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func (w *Watcher) run(ctx context.Context) error {
	var wg sync.WaitGroup
	if !w.cfg.SkipTTYs {
		wg.Go(func() { w.watchTTYs(ctx) })
	}
	if !w.cfg.SkipDisplays {
		wg.Go(func() { w.watchDisplays(ctx) })
	}
	if w.cfg.Wayland {
		wg.Go(func() { w.watchWayland(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
	return context.Cause(ctx)
}

// bootTime is when the machine started.
func bootTime() time.Time {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Now()
	}
	return time.Now().Add(-time.Duration(up.Nano()))
}
