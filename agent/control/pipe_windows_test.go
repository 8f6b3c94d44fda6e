package control

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/windows"
)

var pipes atomic.Int32

// somewhere is where a server may listen.
func somewhere(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("%sskua-test-%d-%d", pipePrefix, os.Getpid(), pipes.Add(1))
}

// Nobody else can listen on an agent's pipe, and a file is no pipe.
func TestListen(t *testing.T) {
	path := somewhere(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path)
	if err == nil {
		second.Close()
		if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() != nil { // Wine takes no note of what forbids it
			t.Error("two listen on one pipe")
		}
	}
	t.Logf("figure: pipe_is_ours=%v", err != nil)
	l.Close()
	if l, err = Listen(path); err != nil {
		t.Fatalf("after an agent before: %v", err)
	}
	l.Close()
	if _, err := Listen(t.TempDir() + `\agent`); err == nil || !strings.Contains(err.Error(), "no name of a pipe") {
		t.Errorf("a file: %v", err)
	}
	if _, err := (Client{Path: somewhere(t)}).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "no agent runs") {
		t.Errorf("without an agent: %v", err)
	}
}

// A client that is gone before anybody has seen it does not end the listening.
func TestClientGoneAtOnce(t *testing.T) {
	l, err := Listen(somewhere(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		gone, err := dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		gone.Close()
		said := make(chan error, 1)
		go func() {
			c, err := dial(t.Context(), l.Addr().String())
			if err == nil {
				_, err = fmt.Fprint(c, "x")
				_, _ = c.Read(make([]byte, 1)) // until the other end closes
				c.Close()
			}
			said <- err
		}()
		c, err := l.Accept()
		if err != nil {
			t.Fatalf("after a client that has gone: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Errorf("the next client is not heard: %v", err)
		}
		c.Close()
		if err := <-said; err != nil {
			t.Error(err)
		}
	}
}

// The system tells who is at the other end of a pipe.
func TestPeer(t *testing.T) {
	l, err := Listen(somewhere(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "x")
		_, _ = c.Read(make([]byte, 1)) // until the other end closes
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	who, err := peerOf(c)
	if err != nil {
		t.Fatal(err)
	}
	if !who.Admin || !strings.EqualFold(who.Name, os.Getenv("USERNAME")) {
		t.Errorf("it is %+v, want %s, who may do all that the agent's own user may", who, os.Getenv("USERNAME"))
	}
}
