//go:build !linux

package child

import (
	"os/exec"
	"syscall"
)

// Start starts a program, and gives a channel that is closed when it has ended and cmd.ProcessState says how. On this
// system it does not hear of the end of this process.
func Start(cmd *exec.Cmd, _ syscall.Signal) (ended <-chan struct{}, err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	over := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the state tells it
		close(over)
	}()
	return over, nil
}
