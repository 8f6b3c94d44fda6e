//go:build linux && !amd64 && !arm64

package starter

import (
	"errors"

	"golang.org/x/sys/unix"
)

func setSyscall(*unix.PtraceRegs, uintptr, uintptr, uintptr) (pc uintptr, code []byte, err error) {
	return 0, nil, errors.ErrUnsupported
}

func syscallResult(*unix.PtraceRegs) int64 { return 0 }
