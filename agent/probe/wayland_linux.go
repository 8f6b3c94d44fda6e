package probe

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	sourceWayland = "wayland"
	waylandEvery  = 10 * time.Second

	// Below this are the system's own users. A login screen is such a user's session, and nobody sits in it.
	firstPersonUID = 1000
)

var errWayland = errors.New("a Wayland session shows its input to nobody outside it; it counts as the owner at work")

// watchWayland counts the owner as present while somebody has a Wayland session: a compositor tells an
// outsider nothing of its input, and who cannot be seen is not away.
func (w *Watcher) watchWayland(ctx context.Context) {
	tick := time.NewTicker(waylandEvery)
	defer tick.Stop()
	var session *source
	for {
		switch there := w.waylandSession(); {
		case there && session == nil:
			session = w.addSource(sourceWayland, true)
			session.unseen(errWayland)
		case !there && session != nil:
			session.inputWas(time.Now())
			session.remove()
			session = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// waylandSession reports whether a person's runtime directory holds a compositor's socket.
func (w *Watcher) waylandSession() bool {
	sockets, _ := filepath.Glob(filepath.Join(w.cfg.RunUser, "*", "wayland-*")) // the pattern is well formed
	for _, s := range sockets {
		uid, err := strconv.Atoi(filepath.Base(filepath.Dir(s)))
		if err != nil || uid < firstPersonUID {
			continue
		}
		if fi, err := os.Stat(s); err == nil && fi.Mode().Type() == os.ModeSocket {
			return true
		}
	}
	return false
}

// unseen notes that somebody is there whose input cannot be seen, for as long as the source exists.
func (s *source) unseen(why error) {
	s.w.mu.Lock()
	s.since, s.busy, s.err = time.Now(), true, why
	s.w.mu.Unlock()
	s.w.log.Warn("owner input cannot be seen", keySource, s.name, "error", why)
	s.touched(time.Now(), true)
}
