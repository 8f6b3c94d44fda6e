package starter

import "golang.org/x/sys/unix"

type registers = unix.PtraceRegs

func getRegisters(pid int, regs *registers) error { return unix.PtraceGetRegs(pid, regs) }
func setRegisters(pid int, regs *registers) error { return unix.PtraceSetRegs(pid, regs) }

// setPrctl points regs at a call of prctl(2), and returns the code that must stand at pc.
func setPrctl(regs *registers, arg1, arg2 uintptr) (pc uintptr, code []byte, err error) {
	regs.Regs[8], regs.Regs[0], regs.Regs[1] = unix.SYS_PRCTL, uint64(arg1), uint64(arg2)
	regs.Regs[2], regs.Regs[3], regs.Regs[4] = 0, 0, 0
	return uintptr(regs.Pc), []byte{0x01, 0x00, 0x00, 0xd4}, nil // svc #0
}

func syscallResult(regs *registers) int64 { return int64(regs.Regs[0]) }
