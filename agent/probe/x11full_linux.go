package probe

import (
	"errors"
	"slices"
)

// Requests of the core protocol, and what they know by number.
const (
	x11InternAtom, x11GetProperty = 16, 20
	x11AnyType                    = 0

	propertyMost = 64 // values of a property that are looked at
)

// fullScreenOf asks a display whether the window in use fills the screen, which its window manager
// writes into properties.
type fullScreenOf struct {
	*x11
	active, state, full uint32 // atoms: _NET_ACTIVE_WINDOW, _NET_WM_STATE, _NET_WM_STATE_FULLSCREEN
}

func newFullScreenOf(x *x11) (*fullScreenOf, error) {
	f := &fullScreenOf{x11: x}
	for _, a := range []struct {
		name string
		atom *uint32
	}{{"_NET_ACTIVE_WINDOW", &f.active}, {"_NET_WM_STATE", &f.state}, {"_NET_WM_STATE_FULLSCREEN", &f.full}} {
		var err error
		if *a.atom, err = x.atom(a.name); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// ask is false for ok without a window manager that says which window is in use.
func (f *fullScreenOf) ask() (full, ok bool, err error) {
	active, ok, err := f.property(f.setup.root, f.active)
	if err != nil || !ok {
		return false, false, err
	}
	if len(active) == 0 || active[0] == 0 {
		return false, true, nil // no window is in use
	}
	states, _, err := f.property(active[0], f.state)
	return slices.Contains(states, f.full), err == nil, err
}

// atom asks for the number of a name.
func (x *x11) atom(name string) (uint32, error) {
	body := le.AppendUint16(nil, uint16(len(name)))
	body = append(body, 0, 0)
	body = append(body, name...)
	body = append(body, make([]byte, pad4(len(name)))...)
	msg, err := x.call(x11InternAtom, 0, body, x11ReplyHead)
	if err != nil {
		return 0, err
	}
	return le.Uint32(msg[8:]), nil
}

// property asks for the values of a property that is a list of numbers. It is false for ok if the window
// does not have it.
func (x *x11) property(window, name uint32) (values []uint32, ok bool, err error) {
	body := le.AppendUint32(nil, window)
	body = le.AppendUint32(body, name)
	body = le.AppendUint32(body, x11AnyType)
	body = le.AppendUint32(body, 0) // from the beginning
	body = le.AppendUint32(body, propertyMost)
	msg, err := x.call(x11GetProperty, 0, body, x11ReplyHead)
	if err != nil {
		return nil, false, err
	}
	return parseProperty(msg)
}

// parseProperty reads the answer to GetProperty.
func parseProperty(msg []byte) (values []uint32, ok bool, err error) {
	const numbers = 32 // bits of each
	if len(msg) < x11ReplyHead {
		return nil, false, errX11Short
	}
	if kind := le.Uint32(msg[8:]); kind == 0 {
		return nil, false, nil
	}
	if msg[1] != numbers {
		return nil, false, errors.New("property of the X server is no list of numbers")
	}
	n := le.Uint32(msg[16:])
	if n > propertyMost || len(msg) < x11ReplyHead+4*int(n) {
		return nil, false, errX11Short
	}
	for i := range int(n) {
		values = append(values, le.Uint32(msg[x11ReplyHead+4*i:]))
	}
	return values, true, nil
}
