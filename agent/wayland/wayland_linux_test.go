package wayland

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testWait  = time.Minute
	testQuiet = 250 * time.Millisecond
)

// server is the other end of a connection: what a compositor does with what a client of ours asks.
type server struct {
	t    *testing.T
	conn *Conn // the wire is the same in both directions
}

// serve starts a compositor that offers globals, and gives the socket's path and the compositor as soon as a
// client has learnt that.
func serve(t *testing.T, globals ...Global) (path string, ready <-chan *server) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "wayland-0")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	served := make(chan *server, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s := &server{t, &Conn{Conn: conn}}
		s.expect(display, displayGetRegistry, registry)
		for _, g := range globals {
			s.announce(g)
		}
		s.expect(display, displaySync, synced)
		s.conn.Request(synced, 0, 0)
		served <- s
	}()
	return path, served
}

func (s *server) announce(g Global) {
	body := ne.AppendUint32(nil, g.Name)
	body = ne.AppendUint32(body, uint32(len(g.Interface)+1))
	body = append(body, g.Interface...)
	body = append(body, make([]byte, 4-len(g.Interface)%4)...)
	s.conn.send(registry, registryGlobal, ne.AppendUint32(body, g.Version))
}

// read reads a request. [Conn.Next] would take some for errors.
func (s *server) read() (object uint32, opcode uint16, body []byte, err error) {
	head, err := s.conn.take(headSize)
	if err != nil {
		return 0, 0, nil, err
	}
	object, word := ne.Uint32(head), ne.Uint32(head[4:])
	body, err = s.conn.take(int(word>>16) - headSize)
	return object, uint16(word), body, err
}

// expect reads a request with arguments of four bytes.
func (s *server) expect(object uint32, opcode uint16, args ...uint32) {
	s.t.Helper()
	gotObject, gotOpcode, body, err := s.read()
	var got []uint32
	for len(body) >= 4 {
		got, body = append(got, ne.Uint32(body)), body[4:]
	}
	if err != nil || gotObject != object || gotOpcode != opcode || !slices.Equal(got, args) {
		s.t.Errorf("request %d.%d%v, %v, want %d.%d%v", gotObject, gotOpcode, got, err, object, opcode, args)
	}
}

// bound reads the binding of a global and gives the id and version.
func (s *server) bound(g Global) (id, version uint32) {
	s.t.Helper()
	object, opcode, body, err := s.read()
	if err != nil || object != registry || opcode != registryBind || len(body) < 16 {
		s.t.Errorf("request %d.%d of %d bytes, %v, want a binding", object, opcode, len(body), err)
		return 0, 0
	}
	b, err := parseGlobal(body[:len(body)-4])
	if err != nil || b.Name != g.Name || b.Interface != g.Interface {
		s.t.Errorf("%+v is bound, %v, want %+v", b, err, g)
	}
	return ne.Uint32(body[len(body)-4:]), b.Version
}

// following has a client follow the compositor, and gives what it is told.
func following(t *testing.T, path string) (told <-chan Input, ended <-chan error) {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	inputs, end := make(chan Input, 16), make(chan error, 1)
	go func() { end <- c.Follow(t.Context(), testQuiet, func(in Input) { inputs <- in }) }()
	return inputs, end
}

func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(testWait):
		t.Fatalf("nothing came in %v", testWait)
		panic("unreachable")
	}
}

func TestFollow(t *testing.T) {
	seat := Global{7, 9, seatKind}
	for _, tt := range []struct {
		name     string
		notifier Global
		version  uint32
		opcode   uint16
		args     func(id, seat uint32) []uint32
	}{
		{"ext-idle-notify, first version", Global{3, 1, notifyKind}, 1, notifyGetIdle, func(id, seat uint32) []uint32 { return []uint32{id, 250, seat} }},
		{"ext-idle-notify, input alone", Global{3, 2, notifyKind}, 2, notifyGetInputIdle, func(id, seat uint32) []uint32 { return []uint32{id, 250, seat} }},
		{"ext-idle-notify, from the future", Global{3, 5, notifyKind}, 2, notifyGetInputIdle, func(id, seat uint32) []uint32 { return []uint32{id, 250, seat} }},
		{"kwin-idle", Global{3, 1, kwinKind}, 1, kwinGetIdle, func(id, seat uint32) []uint32 { return []uint32{id, seat, 250} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, ready := serve(t, Global{1, 6, "wl_compositor"}, tt.notifier, seat, Global{9, 1, "wl_shm"})
			told, ended := following(t, path)
			s := await(t, ready)
			notifier, version := s.bound(tt.notifier)
			seatID, _ := s.bound(seat)
			id := seatID + 1
			s.expect(notifier, tt.opcode, tt.args(id, seatID)...)
			if version != tt.version {
				t.Errorf("version %d is used, want %d", version, tt.version)
			}
			// Events that change nothing are no news.
			for _, opcode := range []uint16{idled, idled, resumed, resumed, idled} {
				s.conn.Request(id, opcode)
			}
			s.conn.Request(seatID, 0, 3)    // capabilities of the seat
			s.conn.Request(display, 1, 42)  // a deleted id
			s.conn.Request(registry, 1, 99) // something that nobody uses is gone
			for i, want := range []Input{{Busy: true}, {Idle: testQuiet}, {Busy: true}, {Idle: testQuiet}} {
				if got := await(t, told); got != want {
					t.Errorf("news %d is %+v, want %+v", i, got, want)
				}
			}
			s.conn.Request(registry, registryRemoved, seat.Name)
			if err := await(t, ended); err == nil || !strings.Contains(err.Error(), "seat") {
				t.Errorf("after the end of the seat: %v", err)
			}
		})
	}
}

// Of two seats one in use is enough.
func TestTwoSeats(t *testing.T) {
	notifier, seats := Global{1, 1, notifyKind}, []Global{{2, 1, seatKind}, {3, 1, seatKind}}
	path, ready := serve(t, notifier, seats[0], seats[1])
	told, ended := following(t, path)
	s := await(t, ready)
	n, _ := s.bound(notifier)
	var ids []uint32
	for _, seat := range seats {
		id, _ := s.bound(seat)
		s.expect(n, notifyGetIdle, id+1, 250, id)
		ids = append(ids, id+1)
	}
	s.conn.Request(ids[0], idled)
	s.conn.Request(ids[1], idled)
	s.conn.Request(ids[1], resumed)
	s.conn.Request(ids[0], resumed)
	s.conn.Request(ids[1], idled)
	s.conn.Request(ids[0], idled)
	for i, want := range []Input{{Busy: true}, {Idle: testQuiet}, {Busy: true}, {Idle: testQuiet}} {
		if got := await(t, told); got != want {
			t.Errorf("news %d is %+v, want %+v", i, got, want)
		}
	}
	s.announce(Global{4, 1, seatKind})
	if err := await(t, ended); err == nil || !strings.Contains(err.Error(), "new seat") {
		t.Errorf("with a third seat: %v", err)
	}
}

func TestSilentCompositor(t *testing.T) {
	path, _ := serve(t, Global{1, 1, "wl_compositor"}, Global{2, 1, seatKind})
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Tells() {
		t.Error("it is believed to tell")
	}
	if err := c.Follow(t.Context(), testQuiet, func(Input) {}); !errors.Is(err, ErrSilent) {
		t.Errorf("it is followed: %v", err)
	}
}

func TestFollowEnds(t *testing.T) {
	notifier, seat := Global{1, 1, notifyKind}, Global{2, 1, seatKind}
	path, ready := serve(t, notifier, seat)
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	told, ended := make(chan Input, 1), make(chan error, 1)
	go func() { ended <- c.Follow(ctx, testQuiet, func(in Input) { told <- in }) }()
	await(t, told)
	await(t, ready)
	stop()
	if err := await(t, ended); err == nil {
		t.Error("it ends without an error")
	}
}

// FuzzCompositor has everything come from a hostile compositor.
func FuzzCompositor(f *testing.F) {
	message := func(object uint32, opcode uint16, body ...byte) []byte {
		b := ne.AppendUint32(nil, object)
		b = ne.AppendUint32(b, uint32(headSize+len(body))<<16|uint32(opcode))
		return append(b, body...)
	}
	global := func(name uint32, kind string) []byte {
		body := ne.AppendUint32(nil, name)
		body = ne.AppendUint32(body, uint32(len(kind)+1))
		body = append(append(body, kind...), make([]byte, 4-len(kind)%4)...)
		return message(registry, registryGlobal, ne.AppendUint32(body, 1)...)
	}
	good := slices.Concat(global(1, notifyKind), global(2, seatKind), message(synced, 0, 0, 0, 0, 0))
	f.Add(slices.Concat(good, message(6, idled), message(6, resumed), message(display, displayError, 1, 0, 0, 0, 9, 0, 0, 0)))
	f.Add(slices.Concat(good, message(registry, registryRemoved, 2, 0, 0, 0)))
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Conn{Conn: &script{b: b}, ids: firstID}
		if err := c.register(); err != nil {
			return
		}
		busy := false
		c.Follow(t.Context(), testQuiet, func(in Input) {
			if in.Busy == busy {
				t.Errorf("%+v is no news", in)
			}
			busy = in.Busy
		})
	})
}

// script is a connection that reads from b and writes to nowhere.
type script struct {
	net.Conn
	b []byte
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(p, s.b)
	s.b = s.b[n:]
	return n, nil
}
func (s *script) Write(p []byte) (int, error) { return len(p), nil }
func (s *script) SetDeadline(time.Time) error { return nil }
func (s *script) Close() error                { return nil }
