package realpool_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"skua/agent/session"
	"skua/agent/starter"
	"skua/internal/realpool"
)

// bin is where the programs are.
var bin string

func TestMain(m *testing.M) {
	starter.MaybeInit()   // the test asks for what this machine can do
	session.MaybeHelper() // and watches desks
	os.Exit(func() int {
		if bin = os.Getenv("SKUA_BIN"); bin != "" {
			return m.Run() // where there is no Go
		}
		var err error
		if bin, err = os.MkdirTemp("", "skua-bin-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		if err := os.Chmod(bin, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := realpool.Build(bin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// needSandbox skips a test on machines that cannot run jobs.
func needSandbox(t *testing.T) starter.Capabilities {
	t.Helper()
	s, err := starter.New(starter.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	can := s.Capabilities(t.Context())
	if !can.Sandbox {
		t.Skip("this machine cannot run jobs: ", can.SandboxWhy)
	}
	return can
}

// needProgram skips a test on machines without a program.
func needProgram(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed; scripts/setup does it", name)
		}
	}
}
