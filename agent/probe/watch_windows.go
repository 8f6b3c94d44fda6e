package probe

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// pollEvery is how often a session is asked for its last input. The system does not tell by itself.
const pollEvery = 250 * time.Millisecond

// run watches the session this process runs in. A service's session has no input of its own: there
// this sees nothing.
func (w *Watcher) run(ctx context.Context) error {
	if w.cfg.SkipDisplays {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	s := w.addSource("session", true)
	defer s.remove()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	quiet := max(w.cfg.Quiet, pollEvery)
	var watched, busy bool
	for {
		now := time.Now()
		idle, err := sessionIdle()
		switch {
		case err != nil:
			s.failed(err)
			watched, busy = false, false
		case !watched:
			s.watched(now.Add(-idle))
			watched = true
		case idle >= quiet:
			s.inputWas(now.Add(-idle))
			busy = false
		case !busy:
			s.touched(now, true)
			busy = true
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

var (
	user32           = windows.NewLazySystemDLL("user32.dll")
	getLastInputInfo = user32.NewProc("GetLastInputInfo")
)

// sessionIdle asks when this session had its last input.
func sessionIdle() (time.Duration, error) {
	var info struct {
		size  uint32
		ticks uint32 // milliseconds since the start, modulo 2³²
	}
	info.size = uint32(unsafe.Sizeof(info))
	if ok, _, err := getLastInputInfo.Call(uintptr(unsafe.Pointer(&info))); ok == 0 {
		return 0, fmt.Errorf("last input of the session: %w", err)
	}
	now := uint32(windows.DurationSinceBoot().Milliseconds())
	return time.Duration(now-info.ticks) * time.Millisecond, nil
}

// bootTime is when the machine started.
func bootTime() time.Time { return time.Now().Add(-windows.DurationSinceBoot()) }
