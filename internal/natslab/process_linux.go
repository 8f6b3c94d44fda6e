package natslab

import (
	"os/exec"
	"syscall"
)

// withUs has the program end when this process does, whatever way.
func withUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
