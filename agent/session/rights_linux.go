package session

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropRights makes this process one of the user's for good, who can neither look into it nor trace it.
// It then has no group but one, no capability, and may execute nothing.
//
// The order matters: until the ids are the user's nothing that a user has made was looked at, and from
// then on there is nothing left to drop.
func dropRights(uid, gid int) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide from tracers: %w", err)
	}
	for what, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_NOFILE: 64} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("set limit %d: %w", what, err)
		}
	}
	if err := forbid(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		if uid != os.Geteuid() {
			return fmt.Errorf("user %d cannot become user %d", os.Geteuid(), uid)
		}
		return nil
	}
	// The functions of package syscall change all threads.
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("drop groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("become group %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("become user %d: %w", uid, err)
	}
	if uid != 0 && syscall.Setuid(0) == nil {
		return fmt.Errorf("user %d could become root again", uid)
	}
	return nil
}

// forbidden is what a helper never does, and nobody shall do with one that was taken over.
var forbidden = []uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
}

// forbid has the kernel refuse the system calls in forbidden, and any new privilege, for all threads.
func forbid() error {
	arch, known := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	// Of the calling thread; the filter takes it to the others.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if !known {
		return nil
	}
	const (
		load, jumpEqual, jumpAtLeast, give = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		deny, allow                        = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ALLOW
		offsetNumber, offsetArch           = 0, 4
		otherABI                           = 0x40000000 // numbers of amd64's second set of calls
	)
	n := uint8(len(forbidden))
	program := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: jumpEqual, K: arch, Jf: n + 3}, // another set of calls: to deny
		{Code: load, K: offsetNumber},
		{Code: jumpAtLeast, K: otherABI, Jt: n + 1},
	}
	for i, call := range forbidden {
		program = append(program, unix.SockFilter{Code: jumpEqual, K: call, Jt: n - uint8(i)})
	}
	program = append(program, unix.SockFilter{Code: give, K: allow}, unix.SockFilter{Code: give, K: deny})
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 && errno != unix.ENOSYS && errno != unix.EINVAL { // a kernel without filters
		return fmt.Errorf("filter of system calls: %w", errno)
	}
	return nil
}
