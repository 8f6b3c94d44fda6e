package starter

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

func TestHandshake(t *testing.T) {
	right, wrong := bytes.Repeat([]byte{1}, secretSize), bytes.Repeat([]byte{2}, secretSize)
	for _, tt := range []struct {
		name          string
		agent, runner []byte
		want          bool
	}{
		{"both know it", right, right, true},
		{"the agent does not", wrong, right, false},
		{"the runner does not", right, wrong, false},
	} {
		a, b := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			err := greetAgent(b, tt.runner)
			b.Close()
			ended <- err
		}()
		err := greetRunner(a, tt.agent)
		a.Close()
		other := <-ended
		if ok := err == nil && other == nil; ok != tt.want {
			t.Errorf("%s: agent %v, runner %v", tt.name, err, other)
		}
		if !tt.want && !errors.Is(err, errStranger) {
			t.Errorf("%s: the agent says %v", tt.name, err)
		}
	}
}

// An echo, which returns what it is told, proves nothing.
func TestHandshakeWithEcho(t *testing.T) {
	var said bytes.Buffer
	secret := bytes.Repeat([]byte{1}, secretSize)
	if err := greetRunner(&said, secret); err == nil {
		t.Error("an echo was believed")
	}
}
