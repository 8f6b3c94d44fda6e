package starter

import "golang.org/x/sys/unix"

// setSyscall points regs at a system call, and returns the code that must stand at pc.
func setSyscall(regs *unix.PtraceRegs, nr, arg1, arg2 uintptr) (pc uintptr, code []byte, err error) {
	regs.Regs[8], regs.Regs[0], regs.Regs[1] = uint64(nr), uint64(arg1), uint64(arg2)
	regs.Regs[2], regs.Regs[3], regs.Regs[4] = 0, 0, 0
	return uintptr(regs.Pc), []byte{0x01, 0x00, 0x00, 0xd4}, nil // svc #0
}

func syscallResult(regs *unix.PtraceRegs) int64 { return int64(regs.Regs[0]) }
