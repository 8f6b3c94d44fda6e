package courier

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// detached gives the courier no console, so that it does not end with the terminal's.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}
