package peer_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"skua/internal/peer"
)

func TestOf(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := peer.Process{PID: os.Getpid(), UID: uint32(os.Getuid())}
	for _, end := range []net.Conn{c, s} {
		if got, err := peer.Of(end); err != nil || got != want {
			t.Errorf("Of gives %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestOfOther(t *testing.T) {
	c, s := net.Pipe()
	defer c.Close()
	defer s.Close()
	if got, err := peer.Of(c); err == nil {
		t.Errorf("a pipe has the peer %+v", got)
	}
}
