package starter

import "golang.org/x/sys/unix"

// abis are the interfaces that programs on this machine may use: its own, and that of 32-bit programs.
// The third, x32, is left out.
var abis = []abi{
	{
		audit: unix.AUDIT_ARCH_X86_64, beyond: 0x40000000, // x32
		refused: append(refusedEverywhere,
			unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL,
			unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_QUERY_MODULE,
		),
		missing: missingEverywhere,
		socket:  unix.SYS_SOCKET, socketpair: unix.SYS_SOCKETPAIR, clone: unix.SYS_CLONE, unshare: unix.SYS_UNSHARE,
		ioctl: unix.SYS_IOCTL, ptrace: unix.SYS_PTRACE,
	},
	{
		audit: unix.AUDIT_ARCH_I386,
		// In the order of refusedEverywhere: the numbers of arch/x86/entry/syscalls/syscall_32.tbl.
		refused: []uint32{
			21, 52, 22, 217, 61, // mount, umount2, umount, pivot_root, chroot
			428, 429, 430, 431, 432, 433, 442, 467, // the newer family of mount
			346,              // setns
			87, 115, 88, 283, // swapon, swapoff, reboot, kexec_load
			128, 350, 129, 127, 130, 167, // modules
			357, 336, 374, // bpf, perf_event_open, userfaultfd
			286, 287, 288, // keys
			51, 131, 443, 169, 253, // acct, quotactl, quotactl_fd, nfsservctl, lookup_dcookie
			25, 79, 264, 404, 343, 405, 124, // clocks
			103, 111, 74, 121, // syslog, vhangup, sethostname, setdomainname
			342, 338, // open_by_handle_at, fanotify_init
			110, 101, 86, 62, 135, 149, // iopl, ioperm, uselib, ustat, sysfs, _sysctl
			113, 166, // vm86old, vm86
		},
		// io_uring, memfd_secret; and socketcall, behind which nobody can see which kind of socket is meant.
		missing: []uint32{425, 426, 427, 447, 102},
		socket:  359, socketpair: 360, clone: 120, unshare: 310, ioctl: 54, ptrace: 26,
	},
}
