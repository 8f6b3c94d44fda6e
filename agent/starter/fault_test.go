package starter

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestMachineFault(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&os.PathError{Op: "open", Path: "_condor_stderr", Err: syscall.EIO}, true},
		{fmt.Errorf("execute ./worker: %w", syscall.ENOMEM), true},
		{fmt.Errorf("execute ./worker: %w", syscall.ENOEXEC), false},
		{fmt.Errorf("execute ./worker: %w", syscall.EACCES), false},
		{&os.PathError{Op: "open", Path: "input", Err: syscall.ENOENT}, false},
		{errNoProgram, false},
		{errors.New("no job was described"), false},
		{nil, false},
	} {
		if got := MachineFault(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
		if tt.err == nil {
			continue
		}
		var m message
		m.fail(tt.err)
		if got := MachineFault(m.failure()); got != tt.want {
			t.Errorf("%v, as the agent sees it: %v", tt.err, got)
		}
		if errors.Is(tt.err, errNoProgram) && !errors.Is(m.failure(), errNoProgram) {
			t.Errorf("%v lost its identity", tt.err)
		}
	}
}
