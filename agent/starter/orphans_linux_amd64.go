package starter

import "golang.org/x/sys/unix"

// registers are those of a process of 64 or 32 bits. In another way of asking the kernel gives those of 32 bits another form.
type registers = unix.PtraceRegsAmd64

func getRegisters(pid int, regs *registers) error { return unix.PtraceGetRegsAmd64(pid, regs) }
func setRegisters(pid int, regs *registers) error { return unix.PtraceSetRegsAmd64(pid, regs) }

// What a process of 32 bits has in its register cs, and its number of prctl(2).
const (
	user32CS = 0x23
	prctl32  = 172
)

// setPrctl points regs at a call of prctl(2), and returns the code that must stand at pc.
func setPrctl(regs *registers, arg1, arg2 uintptr) (pc uintptr, code []byte, err error) {
	regs.Orig_rax = ^uint64(0) // we are in no system call that would be restarted
	if regs.Cs == user32CS {
		regs.Rax, regs.Rbx, regs.Rcx = prctl32, uint64(arg1), uint64(arg2)
		regs.Rdx, regs.Rsi, regs.Rdi = 0, 0, 0
		return uintptr(regs.Rip), []byte{0xcd, 0x80}, nil // int 0x80
	}
	regs.Rax, regs.Rdi, regs.Rsi = unix.SYS_PRCTL, uint64(arg1), uint64(arg2)
	regs.Rdx, regs.R10, regs.R8 = 0, 0, 0
	return uintptr(regs.Rip), []byte{0x0f, 0x05}, nil // syscall
}

// syscallResult is the result of the call; that of 32 bits is negative as such.
func syscallResult(regs *registers) int64 {
	if regs.Cs == user32CS {
		return int64(int32(regs.Rax))
	}
	return int64(regs.Rax)
}
