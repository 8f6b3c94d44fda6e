package probe

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func (w *Watcher) run(ctx context.Context) error {
	var loops []func(context.Context)
	if !w.cfg.SkipTTYs {
		loops = append(loops, w.watchTTYs)
	}
	if !w.cfg.SkipDevices {
		loops = append(loops, w.watchDevices)
	}
	if w.cfg.Sessions {
		loops = append(loops, w.watchPeople)
		w.mu.Lock()
		w.noteCompositors(waylandSockets(w.cfg.RunUser)) // before a display is looked at
		w.mu.Unlock()
	}
	if !w.cfg.SkipDisplays {
		loops = append(loops, w.watchDisplays)
	}
	w.mu.Lock()
	w.begun, w.opening = true, len(loops)
	w.mu.Unlock()
	var wg sync.WaitGroup
	for _, loop := range loops {
		wg.Go(func() { loop(ctx) })
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
