package membership

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"skua/internal/wire"
)

// TestJoinLocalAtAnOldMatchmaker: one that cannot be asked which pool it is has to let in first.
func TestJoinLocalAtAnOldMatchmaker(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "login.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var q wire.LocalLogin
			answer := wire.LocalLogged{
				ID: "u1", Name: "ann", URL: "nats://127.0.0.1:1",
				CA: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			}
			if json.NewDecoder(c).Decode(&q) != nil || q.Key == "" {
				answer = wire.LocalLogged{Fail: &wire.Failure{What: "that is no key"}}
			}
			json.NewEncoder(c).Encode(answer)
			c.Close()
		}
	}()
	dir, refused := t.TempDir(), errors.New("not this one")
	if _, err := JoinLocalIf(t.Context(), dir, socket, func(*Membership) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("a pool that does not fit: %v", err)
	}
	if _, err := Open(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a pool that does not fit was kept: %v", err)
	}
	m, err := JoinLocalIf(t.Context(), dir, socket, func(*Membership) error { return nil })
	if err != nil || m.ID != "u1" || m.Name != "ann" {
		t.Errorf("in a pool that fits the user is %+v, %v", m, err)
	}
}
