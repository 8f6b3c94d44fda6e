package probe

import (
	"testing"
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
	wm, err := dialX11(t.Context(), "/tmp/.X11-unix", server.number(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer wm.Close()
	atoms, err := newFullScreenOf(wm)
	if err != nil {
		t.Fatal(err)
	}
	const none, other = 0, 1
	window := wm.setup.root // the one window that is there
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
		wm.setNumbers(t, wm.setup.root, atoms.active, []uint32{tt.active})
		wm.setNumbers(t, window, atoms.state, tt.states)
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
func (x *x11) setNumbers(t *testing.T, window, name uint32, values []uint32) {
	t.Helper()
	const changeProperty, replace, atomType, numbers = 18, 0, 4, 32
	body := le.AppendUint32(nil, window)
	body = le.AppendUint32(body, name)
	body = le.AppendUint32(body, atomType)
	body = append(body, numbers, 0, 0, 0)
	body = le.AppendUint32(body, uint32(len(values)))
	for _, v := range values {
		body = le.AppendUint32(body, v)
	}
	if err := x.send(changeProperty, replace, body); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.property(window, name); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseProperty(f *testing.F) {
	answer := make([]byte, 40)
	answer[0], answer[1], answer[8], answer[16] = 1, 32, 4, 2
	f.Add(answer)
	f.Add(answer[:33])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		values, ok, err := parseProperty(msg)
		if len(values) > propertyMost || len(values) > 0 && (!ok || err != nil) {
			t.Errorf("%d values, %v, %v", len(values), ok, err)
		}
	})
}
