package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Start starts a program, and gives a channel that is closed when it has ended and cmd.ProcessState says how. When this
// process ends first, the program gets the signal last.
func Start(cmd *exec.Cmd, last syscall.Signal) (ended <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = last
	started, over := make(chan error, 1), make(chan struct{})
	go func() {
		// The signal comes when the thread ends that has started the program, so that thread is kept for it alone.
		runtime.LockOSThread()
		defer close(over)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the state tells it
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return over, nil
}
