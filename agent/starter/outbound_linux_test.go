package starter

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// far makes a machine that can be reached only by the network, in a namespace, with a server that says hello
// on a port, and returns its address.
func far(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a second machine")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("there is no ip")
	}
	name := fmt.Sprintf("skua-far-%d", os.Getpid())
	link := fmt.Sprintf("skf%d", os.Getpid()%100000)
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) }) // and the link with it
	ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
	ip("addr", "add", "198.18.77.1/30", "dev", link)
	ip("link", "set", link, "up")
	ip("-n", name, "addr", "add", "198.18.77.2/30", "dev", "eth0")
	ip("-n", name, "link", "set", "eth0", "up")
	ip("-n", name, "link", "set", "lo", "up")
	server := exec.Command("ip", "netns", "exec", name, "python3", "-u", "-c", `
import socket, threading
l = socket.create_server(("198.18.77.2", 7777)); print("up")
def serve(c):
    c.sendall(b"hello\n"); c.recv(1)
while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()`)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	b := make([]byte, 3)
	if _, err := out.Read(b); err != nil {
		t.Fatal(err)
	}
	return "198.18.77.2:7777"
}

// A job with a network to dial out reaches other machines and a name server, not the owner's loopback and
// sockets. While it is connected it cannot be checkpointed, and afterwards it can.
func TestOutbound(t *testing.T) {
	s := escapeStarter(t, "")
	if c := capabilities(); c.Outbound == "" {
		t.Skip("jobs cannot dial out here: " + c.OutboundWhy)
	}
	address := far(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	abstract, err := net.Listen("unix", fmt.Sprintf("@skua-outbound-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	i, err := s.Open(t.Context(), ClaimSpec{Claim: "escape-outbound", Lease: time.Hour, Slot: 1, Network: NetOutbound})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	runPython(t, i, map[string]any{"far": address, "loopback": l.Addr().String(), "abstract": abstract.Addr().String()}, `
def dial(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 20)
try: dial(given["loopback"]); print("reached the loopback")
except OSError: pass
try: socket.socket(socket.AF_UNIX).connect(given["abstract"].replace("@", "\0")); print("reached an abstract socket")
except OSError: pass
print(open("/etc/resolv.conf").read().strip())
c = dial(given["far"])
print(c.recv(100).decode().strip())
print("connected")
while not os.path.exists("go"): time.sleep(0.005)
c.close()
print("closed")
while not os.path.exists("stop"): time.sleep(0.005)
print("whole")`)
	await(t, "the job is connected", func() bool { return contains(t, i, "connected") })
	if _, err := i.Checkpoint(t.Context(), true); err == nil || !strings.Contains(err.Error(), "connections to other machines") {
		t.Errorf("a checkpoint of a connected job gives %v", err)
	}
	if err := i.Thaw(); err != nil {
		t.Fatal(err)
	}
	r, err := i.Look(t.Context(), 1<<40)
	if err != nil || r.Used.NetIn < 6 || r.Used.NetOut < 1 {
		t.Errorf("it has used %+v (%v)", r.Used, err)
	}
	writeScratch(t, i, "go", "")
	await(t, "the job has hung up", func() bool { return contains(t, i, "closed") })
	if c := capabilities(); c.Checkpoint {
		await(t, "a checkpoint", func() bool { // the kernel lingers on the connection for a moment
			_, err := i.Checkpoint(t.Context(), true)
			if err != nil && !strings.Contains(err.Error(), "connections to other machines") {
				t.Fatal(err)
			}
			return err == nil
		})
		if err := i.Thaw(); err != nil {
			t.Fatal(err)
		}
	}
	writeScratch(t, i, "stop", "")
	awaitExit(t, i)
	if got, want := readScratch(t, i, "out"), "nameserver "+nameServer+"\nhello\nconnected\nclosed\nwhole\n"; got != want {
		t.Errorf("the job says\n%s\nwant\n%s", got, want)
	}
}

func TestParseFar(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for _, tt := range []struct {
		name, line string
		want       int
	}{
		{"a listener", "0: 00000000:1F90 00000000:0000 0A 0 0", 0},
		{"within the loopback", "1: 0100007F:1F90 0100007F:A1B2 01 0 0", 0},
		{"to another machine", "2: 020200C0:A1B2 0100A8C0:01BB 01 0 0", 1},
		{"on the way there", "2: 020200C0:A1B2 0100A8C0:01BB 02 0 0", 1},
		{"over", "2: 020200C0:A1B2 0100A8C0:01BB 06 0 0", 0},
		{"the loopback of six", "0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:A1B2 01", 0},
		{"the loopback of four in six", "0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:A1B2 01", 0},
		{"another machine's six", "0: 0000000000000000FFFF00000100007F:1F90 B80D0120000000000000000001000000:01BB 01", 1},
		{"half a line", "0: 0000", 0},
		{"no numbers", "0: x:y z:w zz", 0},
	} {
		if got := parseFar(head + "   " + tt.line + "\n"); got != tt.want {
			t.Errorf("%s: %d connections, want %d", tt.name, got, tt.want)
		}
	}
}

func TestHasDefaultRoute(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	const local = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	const way = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
	const six = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 "
	for _, tt := range []struct {
		v4, v6 string
		want   bool
	}{{head + local, "", false}, {head + local + way, "", true}, {"", six + "eth0\n", true}, {head, six + "lo\n", false}} {
		if got := hasDefaultRoute(tt.v4, tt.v6); got != tt.want {
			t.Errorf("%q and %q: %v", tt.v4, tt.v6, got)
		}
	}
}
