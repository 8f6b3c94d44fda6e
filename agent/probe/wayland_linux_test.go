package probe

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A session that cannot be watched counts as the owner at work; the login screen's does not.
func TestWaylandSession(t *testing.T) {
	run := t.TempDir()
	socket := func(uid string) *net.UnixListener {
		t.Helper()
		dir := filepath.Join(run, uid)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "wayland-0"), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	socket("111")
	person := socket("1000")
	synctest.Test(t, func(t *testing.T) {
		var touches atomic.Int32
		w, err := NewWatcher(WatchConfig{
			SkipDisplays: true, SkipTTYs: true, RunUser: run, Wayland: true,
			OnActive: func(Active) { touches.Add(1) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Run(ctx)
		}()
		w.Settle(ctx)
		synctest.Wait()
		if got := w.Idle(time.Now()); got != 0 || touches.Load() != 1 {
			t.Errorf("with a session the owner is idle for %v after %d touches, want 0 after 1", got, touches.Load())
		}
		person.Close()
		time.Sleep(2 * time.Minute)
		if got := w.Idle(time.Now()); got < time.Minute || got > 2*time.Minute {
			t.Errorf("two minutes after the session's end the owner is idle for %v", got)
		}
		stop()
		<-ended
	})
}
