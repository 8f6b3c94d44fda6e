package starter

import "golang.org/x/sys/unix"

// abis are the interfaces that programs on this machine may use: its own. 32-bit programs do not run.
var abis = []abi{{
	audit: unix.AUDIT_ARCH_AARCH64, refused: refusedEverywhere, missing: missingEverywhere,
	socket: unix.SYS_SOCKET, socketpair: unix.SYS_SOCKETPAIR, clone: unix.SYS_CLONE, unshare: unix.SYS_UNSHARE,
	ioctl: unix.SYS_IOCTL, ptrace: unix.SYS_PTRACE,
}}
