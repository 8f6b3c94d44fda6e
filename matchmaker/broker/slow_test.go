package broker

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"skua/internal/bus"
	"skua/internal/trust"
)

// A client that does not read what it is sent is cut off, and another one gets all of it meanwhile.
func TestSlowClientIsCutOff(t *testing.T) {
	p := startPool(t)
	id, slow := p.join(t, trust.User, "ann")
	c, nonce := greet(t, p)
	sig, err := id.Sign([]byte(nonce))
	if err != nil {
		t.Fatal(err)
	}
	connect, err := json.Marshal(map[string]any{"nkey": id.PublicKey(), "sig": base64.RawURLEncoding.EncodeToString(sig)})
	if err != nil {
		t.Fatal(err)
	}
	subject := "skua.note." + slow.ID + ".event"
	if _, err := c.Write([]byte("CONNECT " + string(connect) + "\r\nSUB " + subject + " 1\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "PONG") {
			break // it is served, and reads no more
		}
	}
	connected := func() bool {
		conns, err := p.broker.srv.Connz(&server.ConnzOptions{Username: true, User: id.PublicKey()})
		if err != nil {
			t.Fatal(err)
		}
		return len(conns.Conns) > 0
	}
	if !connected() {
		t.Fatal("it is not connected")
	}
	key, quick := p.join(t, trust.User, "eve")
	reader := dial(t, p.config(t, p.plainURL(), key, quick.ID))
	notes := make(chan string, 1)
	subscribe(t, reader, "skua.note."+quick.ID+".event", func(m bus.Msg) { notes <- string(m.Data) })
	large := make([]byte, 128<<10)
	for deadline := time.Now().Add(patience); connected(); {
		if time.Now().After(deadline) {
			t.Fatal("it is not cut off")
		}
		if err := p.broker.Conn().Publish(subject, large); err != nil {
			t.Fatal(err)
		}
		publish(t, p.broker.Conn(), "skua.note."+quick.ID+".event")
		if got := receive(t, notes); got != "x" {
			t.Fatalf("the other one got %q", got)
		}
	}
}
