//go:build unix

package courier

import "syscall"

// detached gives the courier a session of its own, so that it does not end with the terminal's.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
