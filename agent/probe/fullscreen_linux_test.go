package probe

import (
	"encoding/binary"
	"testing"

	"skua/agent/x11"
)

// A real X server, with the test as its window manager.
func TestFullScreen(t *testing.T) {
	server := startXvfb(t, "")
	cfg := WatchConfig{Displays: []string{server.name}}
	s, err := newScreens(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if got := s.fullScreen(t.Context()); got.known {
		t.Errorf("without a window manager: %+v", got)
	}
	wm, err := x11.Dial(t.Context(), "/tmp/.X11-unix", server.number(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer wm.Close()
	atoms, err := newFullScreenOf(wm)
	if err != nil {
		t.Fatal(err)
	}
	const none, other = 0, 1
	window := wm.Root() // the one window that is there
	for _, tt := range []struct {
		what   string
		active uint32
		states []uint32
		want   maybe[bool]
	}{
		{"no window in use", none, nil, known(false)},
		{"a window in use", window, nil, known(false)},
		{"a full one", window, []uint32{other, atoms.full}, known(true)},
		{"a maximised one", window, []uint32{other}, known(false)},
		{"a window that is gone", 0x1fffffff, nil, maybe[bool]{}},
		{"a full one again", window, []uint32{atoms.full}, known(true)},
	} {
		setNumbers(t, wm, wm.Root(), atoms.active, []uint32{tt.active})
		setNumbers(t, wm, window, atoms.state, tt.states)
		if got := s.fullScreen(t.Context()); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.what, got, tt.want)
		}
	}
	server.stop()
	if got := s.fullScreen(t.Context()); got.known {
		t.Errorf("without a server: %+v", got)
	}
}

// setNumbers sets a property, and waits until the server has done so.
func setNumbers(t *testing.T, x *x11.Conn, window, name uint32, values []uint32) {
	t.Helper()
	const changeProperty, replace, atomType, numbers = 18, 0, 4, 32
	body := binary.LittleEndian.AppendUint32(nil, window)
	body = binary.LittleEndian.AppendUint32(body, name)
	body = binary.LittleEndian.AppendUint32(body, atomType)
	body = append(body, numbers, 0, 0, 0)
	body = binary.LittleEndian.AppendUint32(body, uint32(len(values)))
	for _, v := range values {
		body = binary.LittleEndian.AppendUint32(body, v)
	}
	if err := x.Send(changeProperty, replace, body); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.Numbers(window, name); err != nil {
		t.Fatal(err)
	}
}
