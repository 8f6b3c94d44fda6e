package probe

import (
	"slices"

	"skua/agent/x11"
)

// fullScreenOf asks a display whether the window in use fills the screen, which its window manager
// writes into properties.
type fullScreenOf struct {
	*x11.Conn
	active, state, full uint32 // atoms: _NET_ACTIVE_WINDOW, _NET_WM_STATE, _NET_WM_STATE_FULLSCREEN
}

func newFullScreenOf(x *x11.Conn) (*fullScreenOf, error) {
	f := &fullScreenOf{Conn: x}
	for _, a := range []struct {
		name string
		atom *uint32
	}{{"_NET_ACTIVE_WINDOW", &f.active}, {"_NET_WM_STATE", &f.state}, {"_NET_WM_STATE_FULLSCREEN", &f.full}} {
		var err error
		if *a.atom, err = x.Atom(a.name); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// ask is false for ok without a window manager that says which window is in use.
func (f *fullScreenOf) ask() (full, ok bool, err error) {
	active, ok, err := f.Numbers(f.Root(), f.active)
	if err != nil || !ok {
		return false, false, err
	}
	if len(active) == 0 || active[0] == 0 {
		return false, true, nil // no window is in use
	}
	states, _, err := f.Numbers(active[0], f.state)
	return slices.Contains(states, f.full), err == nil, err
}
