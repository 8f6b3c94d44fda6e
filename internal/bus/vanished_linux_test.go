package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skua/internal/netlab"
)

// A connection ends when its host vanishes, whether something is being sent to it or not, though neither side closes it.
func TestHostVanishes(t *testing.T) {
	if err := netlab.Possible(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	l, err := netlab.New(t.Context(), fmt.Sprintf("skv%d-", os.Getpid()))
	t.Cleanup(func() {
		if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	address, err := l.Add(t.Context(), "far")
	if err != nil {
		t.Fatal(err)
	}
	server := l.Command(t.Context(), "far", "python3", "-c", `
import socket
s = socket.create_server(("", 4222))
print("listens", flush=True)
held = [s.accept() for _ in range(2)]
s.accept()`)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	h := newHosts([]*url.URL{{Scheme: "nats", Host: net.JoinHostPort(address, "4222")}})
	h.vanished = 4 * time.Second
	dial := func() net.Conn {
		t.Helper()
		var c net.Conn
		err := within(l.Namespace("head"), func() (err error) {
			c, err = h.Dial("tcp", "")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	silent, talks := dial(), dial()
	if err := l.Cut(t.Context(), "far"); err != nil {
		t.Fatal(err)
	}
	if _, err := talks.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]net.Conn{"silent": silent, "written to": talks} {
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ETIMEDOUT) {
			t.Errorf("reading of the connection that is %s ended with %v, want that the host does not answer", what, err)
		}
	}
}

// within calls f in a network namespace.
func within(namespace string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- func() error {
			ns, err := os.Open(filepath.Join("/var/run/netns", namespace))
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-done
}
