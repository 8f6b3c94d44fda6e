package qemutest_test

import (
	"fmt"
	"os"
	"testing"

	"skua/internal/realpool"
)

// bin is where the programs are.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if os.Getenv("SKUA_QEMU") == "" {
			return m.Run() // which skips all
		}
		var err error
		if bin, err = os.MkdirTemp("", "skua-bin-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		if err := realpool.Build(bin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}
