package bus

import (
	"net"
	"net/url"
	"testing"
)

// The host that is named is the one that answers, wherever the first try went.
func TestReached(t *testing.T) {
	up, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down.Close()
	h := newHosts([]*url.URL{{Scheme: "wss", Host: down.Addr().String()}, {Scheme: "wss", Host: up.Addr().String()}})
	for range 2 { // each is the first once
		c, err := h.Dial("tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := h.reached(); got != up.Addr().String() {
			t.Errorf("it says that %s was reached, and it was %s", got, up.Addr())
		}
	}
}
