package probe

import (
	"context"
	"encoding/binary"
	"net"
	"path/filepath"
	"strconv"
	"testing"

	"skua/agent/x11"
	"skua/policy/classad"
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

// Displays that do not answer, which anybody may have, keep nothing else from being noticed.
func TestDeafDisplaysKeepNothingUp(t *testing.T) {
	dir := t.TempDir()
	for n := range displaysMost {
		l, err := net.Listen("unix", filepath.Join(dir, "X"+strconv.Itoa(n)))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	c, err := NewConditions(ConditionsConfig{
		Sys: t.TempDir(), Proc: t.TempDir(), Bus: "none", ExecuteDir: t.TempDir(),
		Watch: WatchConfig{X11: dir, RunUser: t.TempDir(), Proc: t.TempDir()},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx, func() {}) }()
	eventually(t, "the disk is not known", func() bool {
		ad := classad.NewAd()
		c.Set(ad)
		_, known := ad.Int("FreeDisk")
		return known
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A display that is gone is not kept, for its server may be there still.
func TestScreensForgetDisplays(t *testing.T) {
	s, err := newScreens(WatchConfig{X11: t.TempDir(), RunUser: t.TempDir(), Proc: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s.open[7] = &fullScreenOf{Conn: &x11.Conn{Conn: ours}}
	if got := s.fullScreen(t.Context()); got.known || len(s.open) != 0 {
		t.Fatalf("without a display: %+v, and %d are open", got, len(s.open))
	}
	if _, err := theirs.Write([]byte{0}); err == nil {
		t.Error("the connection is open")
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
