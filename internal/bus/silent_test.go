package bus

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/trust"
)

// TestFlushGivesUpASilentServer: one that the kernel of its host still answers for, but that does nothing.
func TestFlushGivesUpASilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go greet(c)
		}
	}()
	id, err := trust.CreateIdentity(filepath.Join(t.TempDir(), "identity"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(Config{URLs: []string{"nats://" + l.Addr().String()}, Identity: id, Inbox: InboxPrefix("x"), FailFast: true, NoPings: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close() // Close would wait for the server
	c.patience = 10 * time.Millisecond
	<-c.Reconnected()
	if err := c.Flush(t.Context()); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %v, want %v", err, ErrNoAnswer)
	}
	select {
	case <-c.Reconnected():
	case <-time.After(time.Minute):
		t.Error("no new connection is made")
	}
}

// greet answers what begins a connection, and then nothing.
func greet(c net.Conn) {
	fmt.Fprintf(c, "INFO {\"server_id\":\"S\",\"version\":\"2.11.0\",\"proto\":1,\"nonce\":\"abc\",\"max_payload\":1048576}\r\n")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "PING") {
			fmt.Fprintf(c, "PONG\r\n")
			break
		}
	}
}
