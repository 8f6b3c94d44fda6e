package probe

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// deafCompositor is a Wayland compositor that has a seat and tells nobody of its input. It lets the user in.
func (u sitter) deafCompositor(t testing.TB, name string) net.Listener {
	t.Helper()
	path := filepath.Join(u.dir, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	if err := os.Chown(path, int(u.uid), int(u.uid)); err != nil {
		t.Fatal(err)
	}
	event := func(object uint32, body string) []byte {
		b := binary.NativeEndian.AppendUint32(nil, object)
		b = binary.NativeEndian.AppendUint32(b, uint32(8+len(body))<<16)
		return append(b, body...)
	}
	word := func(n uint32) string { return string(binary.NativeEndian.AppendUint32(nil, n)) }
	seat := event(2, word(1)+word(8)+"wl_seat\x00"+word(5))
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.Write(append(seat, event(3, word(0))...)) // and that is all
				io.Copy(io.Discard, conn)
			}()
		}
	}()
	return l
}
