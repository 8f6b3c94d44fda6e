//go:build !windows

package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// somewhere is where a server may listen.
func somewhere(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "run", "agent.sock")
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil { // as an agent makes its own
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agent.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o711 {
		t.Errorf("the directory has the mode %v, %v: others cannot get at the socket, or at more than that", fi.Mode(), err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed agent leaves it
	l.Close()
	if l, err = Listen(path); err != nil {
		t.Fatalf("in the place of an agent before: %v", err)
	}
	l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file has become %q, %v", data, err)
	}
	if _, err := (Client{Path: filepath.Join(dir, "none.sock")}).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "no agent runs") {
		t.Errorf("without an agent: %v", err)
	}
}
