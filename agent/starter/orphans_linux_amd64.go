package starter

import "golang.org/x/sys/unix"

// setSyscall points regs at a system call, and returns the code that must stand at pc.
func setSyscall(regs *unix.PtraceRegs, nr, arg1, arg2 uintptr) (pc uintptr, code []byte, err error) {
	regs.Rax, regs.Rdi, regs.Rsi = uint64(nr), uint64(arg1), uint64(arg2)
	regs.Rdx, regs.R10, regs.R8 = 0, 0, 0
	regs.Orig_rax = ^uint64(0)                        // we are in no system call that would be restarted
	return uintptr(regs.Rip), []byte{0x0f, 0x05}, nil // syscall
}

func syscallResult(regs *unix.PtraceRegs) int64 { return int64(regs.Rax) }
