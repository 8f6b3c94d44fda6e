package x11

import (
	"net"
	"testing"
	"time"
)

func FuzzParseAuthority(f *testing.F) {
	f.Add(authEntry(256, "desk7", "3", CookieProtocol, make([]byte, CookieSize)))
	f.Add([]byte{1, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range ParseAuthority(b, 3) {
			if len(c) != CookieSize {
				t.Errorf("cookie of %d bytes", len(c))
			}
		}
	})
}

func FuzzParseSetup(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add(append([]byte{1}, make([]byte, 200)...))
	f.Add([]byte{0, 255, 0, 0, 0, 0, 0, 0, 'n', 'o'})
	f.Fuzz(func(t *testing.T, b []byte) { parseSetup(b) })
}

// FuzzServer has everything after the handshake come from a hostile server.
func FuzzServer(f *testing.F) {
	extension := make([]byte, 32)
	extension[0], extension[2], extension[8], extension[9], extension[10] = 1, 1, 1, 128, 90
	f.Add(extension)
	counters := append([]byte{1, 0, 3, 0, 6, 0, 0, 0, 1}, make([]byte, 23)...)
	counters = append(counters, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0)
	counters = append(counters, "IDLETIME\x00\x00"...)
	started := make([]byte, 32)
	started[0], started[2] = 1, 2
	f.Add(append(append(append([]byte{}, extension...), started...), counters...))
	f.Add([]byte{1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &Conn{counted: time.Now(), Conn: &script{b: b}, setup: setupReply{idBase: 1 << 21, idMask: 1<<21 - 1}}
		alarms, _, err := newIdleAlarms(x, 250*time.Millisecond)
		for err == nil {
			_, _, err = alarms.wait(t.Context())
		}
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
