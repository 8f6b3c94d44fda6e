package netlab_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"skua/internal/netlab"
)

// Machines that know the head have the right address of it after others have come.
func TestHeadStaysWhereItIs(t *testing.T) {
	if err := netlab.Possible(); err != nil {
		t.Skip(err)
	}
	lab, err := netlab.New(t.Context(), fmt.Sprintf("skm%d-", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	first := ""
	for i := range 10 {
		out, err := lab.Command(t.Context(), "head", "ip", "-oneline", "link", "show", "dev", "br0").Output()
		if err != nil {
			t.Fatal(err)
		}
		_, ether, found := strings.Cut(string(out), "link/ether ")
		ether, _, _ = strings.Cut(ether, " ")
		if first == "" {
			first = ether
		}
		if !found || ether != first {
			t.Errorf("with %d machines the head has %q, want %q", i, ether, first)
		}
		if _, err := lab.Add(t.Context(), fmt.Sprint("desk", i+1)); err != nil {
			t.Fatal(err)
		}
	}
}

// Machines reach each other and the head until their cables are cut, and again when these are healed.
func TestCables(t *testing.T) {
	if err := netlab.Possible(); err != nil {
		t.Skip(err)
	}
	lab, err := netlab.New(t.Context(), fmt.Sprintf("skl%d-", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	addresses := map[string]string{"head": netlab.Head}
	for _, name := range []string{"desk1", "desk2"} {
		if addresses[name], err = lab.Add(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	reaches := func(from, to string) bool {
		// Nobody listens there: what is refused has arrived.
		script := fmt.Sprintf("import socket\ns = socket.socket()\ns.settimeout(1)\nprint(s.connect_ex((%q, 9)))", addresses[to])
		out, err := lab.Command(t.Context(), from, "python3", "-c", script).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out)) == "111"
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	if !reaches("desk1", "head") || !reaches("desk2", "desk1") {
		t.Fatal("the machines do not reach each other")
	}
	if err := lab.Cut(t.Context(), "desk1"); err != nil {
		t.Fatal(err)
	}
	if reaches("desk1", "head") || reaches("desk2", "desk1") || !reaches("desk2", "head") {
		t.Error("with the cable of desk1 cut, it should reach nobody, and desk2 the head")
	}
	if err := lab.Heal(t.Context(), "desk1"); err != nil {
		t.Fatal(err)
	}
	if !reaches("desk1", "head") {
		t.Error("healed, desk1 does not reach the head")
	}
	if err := lab.CutHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reaches("desk1", "head") || !reaches("desk2", "desk1") {
		t.Error("with the head's cable cut, desk1 should not reach it, and desk2 desk1")
	}
	if err := lab.HealHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]func(context.Context, string) error{"mute": lab.Mute, "deaf": lab.Deafen} {
		if err := fault(t.Context(), "desk1"); err != nil {
			t.Fatal(err)
		}
		if reaches("desk1", "head") {
			t.Errorf("%s, desk1 gets an answer of the head", name)
		}
		if err := lab.Heal(t.Context(), "desk1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Lose(t.Context(), "desk2", 100); err != nil {
		t.Fatal(err)
	}
	if reaches("desk2", "head") {
		t.Error("with all packets lost, desk2 reaches the head")
	}
}

// A cable with a rate carries no more than that, and all of it.
func TestRate(t *testing.T) {
	if err := netlab.Possible(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	lab, err := netlab.New(t.Context(), fmt.Sprintf("skr%d-", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		_, err = lab.Add(t.Context(), "desk1")
	}
	const rate, size = 40_000_000, 2_000_000
	if err == nil {
		err = lab.Rate(t.Context(), "desk1", rate)
	}
	if err != nil {
		t.Fatal(err)
	}
	server := lab.Command(t.Context(), "head", "python3", "-c", `
import socket
s = socket.socket()
s.bind(("0.0.0.0", 9))
s.listen()
print("ready", flush=True)
c, _ = s.accept()
n = 0
while data := c.recv(65536): n += len(data)
c.sendall(str(n).encode())`)
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	got, err := lab.Command(t.Context(), "desk1", "python3", "-c", fmt.Sprintf(`
import socket, time
s = socket.create_connection((%q, 9))
began = time.monotonic()
s.sendall(bytes(%d))
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode(), time.monotonic() - began)`, netlab.Head, size)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var arrived int
	var took float64
	if _, err := fmt.Sscan(string(got), &arrived, &took); err != nil {
		t.Fatal(err)
	}
	if least := 0.8 * size * 8 / rate; arrived != size || took < least {
		t.Errorf("%d of %d bytes arrived in %v s, want all in %v s at least", arrived, size, took, least)
	}
}

// What passes a slow cable arrives whole, after the delay of both directions, and at once when it is slow no more.
func TestDelay(t *testing.T) {
	if err := netlab.Possible(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	lab, err := netlab.New(t.Context(), fmt.Sprintf("skd%d-", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Add(t.Context(), "desk1"); err != nil {
		t.Fatal(err)
	}
	const server = `
import socket
s = socket.create_server(("", 9))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    data = b""
    while len(data) < 1000000:
        data += c.recv(1 << 16)
    c.sendall(data)
    c.close()
`
	serve := lab.Command(t.Context(), "head", "python3", "-c", server)
	out, err := serve.StdoutPipe()
	if err == nil {
		err = serve.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = serve.Wait() }) // the test's context kills it
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	// One megabyte there and back, with pieces that the network devices make and sum.
	echo := func() (whole bool, took time.Duration) {
		script := fmt.Sprintf(`
import os, socket, time
data, back = os.urandom(1000000), b""
began = time.monotonic()
s = socket.create_connection((%q, 9), 30)
s.sendall(data)
while len(back) < len(data):
    back += s.recv(1 << 16)
print(back == data, time.monotonic() - began)`, netlab.Head)
		out, err := lab.Command(t.Context(), "desk1", "python3", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var equal string
		var seconds float64
		if _, err := fmt.Sscan(string(out), &equal, &seconds); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return equal == "True", time.Duration(seconds * float64(time.Second))
	}
	const oneWay = 150 * time.Millisecond
	if err := lab.Delay(t.Context(), "desk1", oneWay); err != nil {
		t.Fatal(err)
	}
	if whole, took := echo(); !whole || took < 4*oneWay { // two round trips at least
		t.Errorf("on a slow cable: whole %t, after %v", whole, took)
	}
	if err := lab.Undelay(t.Context(), "desk1"); err != nil {
		t.Fatal(err)
	}
	if whole, _ := echo(); !whole {
		t.Error("what passed a cable that is slow no more is not whole")
	}
}
