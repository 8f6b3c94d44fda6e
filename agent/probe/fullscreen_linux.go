package probe

import (
	"context"
	"slices"
	"time"
)

// screenWait is for all that is asked of one display.
const screenWait = 2 * time.Second

// screens asks the machine's X displays whether a window fills the screen. It keeps its connections, and
// sends nothing but these questions. One goroutine uses it.
type screens struct {
	w    *Watcher // knows displays and cookies; it is not run
	open map[int]*fullScreenOf
}

func newScreens(cfg WatchConfig) (*screens, error) {
	cfg.OnActive, cfg.Log = nil, nil // failures are the owner's watcher's to tell
	w, err := NewWatcher(cfg)
	if err != nil {
		return nil, err
	}
	return &screens{w: w, open: make(map[int]*fullScreenOf)}, nil
}

// fullScreen is true if the window in use fills the screen of any display, false if that of none does,
// and unknown without a display that tells.
func (s *screens) fullScreen(ctx context.Context) maybe[bool] {
	displays := s.w.displays
	switch {
	case s.w.cfg.SkipDisplays:
		displays = nil
	case displays == nil:
		s.w.mu.Lock()
		s.w.noteCompositors(waylandSockets(s.w.cfg.RunUser))
		s.w.mu.Unlock()
		displays = slices.DeleteFunc(findDisplays(s.w.cfg.X11), s.w.isXwayland)
	}
	displays = displays[:min(len(displays), displaysMost)]
	for n, f := range s.open {
		if !slices.Contains(displays, n) { // its server may be there still, and others come without end
			f.Close()
			delete(s.open, n)
		}
	}
	var result maybe[bool]
	for _, n := range displays {
		if full, ok := s.ask(ctx, n); ok {
			result = known(result.value || full)
		}
	}
	return result
}

// ask asks one display, which is reached first if it has not been yet.
func (s *screens) ask(ctx context.Context, n int) (full, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, screenWait)
	defer cancel()
	f := s.open[n]
	if f == nil {
		var err error
		if f, err = s.reach(ctx, n); err != nil {
			return false, false
		}
		s.open[n] = f
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	full, ok, err := f.ask()
	if !stop() || err != nil {
		f.Close()
		delete(s.open, n)
	}
	return full, ok
}

func (s *screens) reach(ctx context.Context, n int) (*fullScreenOf, error) {
	x, err := (&display{w: s.w, n: n, src: &source{w: s.w}}).dial(ctx)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { x.Close() })()
	f, err := newFullScreenOf(x)
	if err != nil {
		x.Close()
		return nil, err
	}
	return f, nil
}

func (s *screens) close() {
	for n, f := range s.open {
		f.Close()
		delete(s.open, n)
	}
}
