package realpool_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"skua/agent/control"
	"skua/internal/realpool"
)

// The person at the machine pauses it: the job leaves at once and ends elsewhere, and the machine says what ran there.
// Somebody who does not sit there is refused.
func TestOwnersControls(t *testing.T) {
	can := needSandbox(t)
	p := realpool.Start(t, bin, realpool.Config{
		Agents: 2, Lease: 30,
		Agent: func(n int) string { return fmt.Sprintf("owner = false\ncontrol = \"/tmp/%s-%d.sock\"\n", t.Name(), n) },
	})
	id := submitStepper(t, p, 150, "0.1")
	desk := runsOn(p, id)
	if desk == 0 {
		t.Fatal("no agent says that it runs the job")
	}
	ask := func(desk int, args ...string) []string {
		return append([]string{"skua-agent", "--config", filepath.Join(p.Dir, fmt.Sprintf("desk%d.toml", desk))}, args...)
	}
	status := func() (s control.Status) {
		if err := json.Unmarshal([]byte(p.Must(ask(desk, "status", "--json")...)), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := status(); s.Wish.Kind != "" || len(s.Slots) != 1 || s.Slots[0].Job != id || !s.Connected {
		t.Errorf("before the pause the status is %+v", s)
	}
	refused(t, fmt.Sprintf("/tmp/%s-%d.sock", t.Name(), desk))

	said := p.Must(ask(desk, "pause", "2h")...)
	if !strings.Contains(said, "paused this machine until") {
		t.Errorf("a pause says %q", said)
	}
	other := 3 - desk
	goesOn := map[bool]string{true: "goes on from its checkpoint", false: "job runs"}[can.Checkpoint]
	p.Await("the job goes on elsewhere", func() bool { return strings.Contains(p.Agents[other-1].Log(), goesOn) })
	p.Must("skua", "wait", id, "--timeout", "4m")
	if can.Checkpoint {
		checkSteps(t, p, 150, 1)
	}
	checkCompletions(t, p, id)
	if s := status(); s.Wish.Kind != control.Pause || s.Slots[0].Job != "" || s.Slots[0].State != "Owner" {
		t.Errorf("during the pause the status is %+v", s)
	}
	var ran []control.Ran
	if err := json.Unmarshal([]byte(p.Must(ask(desk, "log", "--json")...)), &ran); err != nil {
		t.Fatal(err)
	}
	if len(ran) != 1 || ran[0].Job != id || ran[0].Outcome != "evicted" || !strings.Contains(ran[0].Why, "paused") {
		t.Errorf("what ran there is %+v", ran)
	}
	p.Must(ask(desk, "resume")...)
	p.Await("the slot is offered again", func() bool { s := status(); return s.Wish.Kind == "" && s.Slots[0].State == "Unclaimed" })
}

// refused checks that a user who neither sits at the machine nor administers it can read the status, and no more.
func refused(t *testing.T, socket string) {
	t.Helper()
	const ask = `{"kind":"pause"}`
	for request, want := range map[string]string{
		fmt.Sprintf("POST /wish HTTP/1.1\r\nContent-Length: %d\r\n", len(ask)): "does not sit at this machine",
		"GET /ran HTTP/1.1\r\n":    "does not sit at this machine",
		"GET /status HTTP/1.1\r\n": `"slots"`,
	} {
		said := make(chan string, 1)
		go func() {
			runtime.LockOSThread() // for good: the thread has another user now, and ends with its goroutine
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 54321, ^uintptr(0)); errno != 0 {
				said <- errno.Error()
				return
			}
			conn, err := net.Dial("unix", socket)
			if err != nil {
				said <- err.Error()
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%sHost: agent\r\nConnection: close\r\n\r\n%s", request, ask)
			answer, _ := io.ReadAll(conn)
			said <- string(answer)
		}()
		if answer := <-said; !strings.Contains(answer, want) {
			t.Errorf("another user asks %q and is told %q, want %q", request, answer, want)
		}
	}
}
