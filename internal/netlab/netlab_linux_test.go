package netlab_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"skua/internal/netlab"
)

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
	if err := lab.Lose(t.Context(), "desk2", 100); err != nil {
		t.Fatal(err)
	}
	if reaches("desk2", "head") {
		t.Error("with all packets lost, desk2 reaches the head")
	}
}
