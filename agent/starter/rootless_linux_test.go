package starter

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An agent without root runs, freezes and moves jobs too. When the tests run as root, the most
// telling ones run once more as somebody else.
func TestWithoutRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests run without root already")
	}
	const nobody = 41234 // no account has this id, and none is needed
	dir, err := os.MkdirTemp("", "skua-rootless-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self := filepath.Join(dir, "starter.test")
	if err := copySelf(self); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(self, 0o755); err != nil { // whatever the umask was
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.run",
		"^(TestRun|TestStdio|TestNothingOutlivesTheJob|TestSandbox|TestFreeze|TestAgentDies|TestMigrate|TestRuntimeRoot)$/^(.*signal.*|exit_code|network)$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	b, err := cmd.CombinedOutput()
	out := string(b)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "cannot be") {
			t.Skip(strings.TrimSpace(line))
		}
	}
	for _, name := range []string{"TestSandbox", "TestFreeze/signal", "TestAgentDies/signal", "TestMigrate/python3_frozen_by_signals", "TestRuntimeRoot"} {
		if !strings.Contains(out, "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass:\n%s", name, out)
		}
	}
}
