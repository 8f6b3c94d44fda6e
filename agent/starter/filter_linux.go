package starter

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The filter of system calls. The init's first thread takes it on for good, and so everything that this
// thread starts has it: jobs, and CRIU with the jobs that it restores. A job can therefore not be without
// it for a moment, nor can an image bring one in that is. What it refuses is what no job and no CRIU needs
// and what makes the kernel's attack surface large; the init's other threads are not bound by it.
//
// CRIU may neither read a filter nor suspend one, because both want the privileges of the machine's root.
// It is made to believe that there is an empty one: it need not be suspended, since what CRIU has a job do
// is allowed, and need not be in the image, since the next init has it, too (checkpoint.Options.Filtered).
//
// The program is put together here: elastic/go-seccomp-bpf knows one architecture at a time, so a 32-bit
// program would go round it or could not run, and brings tables of all of them into the agent's memory.

// What a filter answers.
const (
	denied  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	missing = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS) // as a kernel that is older or built without it
)

// abi is what a filter must know of one of the kernel's system call interfaces.
type abi struct {
	audit   uint32   // its AUDIT_ARCH
	beyond  uint32   // numbers from here on belong to an interface that is not allowed; 0 for none
	refused []uint32 // numbers of system calls
	missing []uint32

	socket, socketpair uint32
	clone, unshare     uint32
	ioctl, ptrace      uint32
}

// families are the kinds of sockets that a job may have. Others are of no use to it, or leave its network
// namespace (AF_VSOCK), or are known for their holes.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Offsets in the kernel's struct seccomp_data, on little-endian machines.
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16 // 8 bytes each
)

// program gives the filter for a machine that has these interfaces.
func program(abis []abi) []unix.SockFilter {
	p := []unix.SockFilter{load(dataArch)}
	for _, a := range abis {
		body := a.body()
		// A conditional jump goes 255 instructions at most, an unconditional one any number.
		p = append(p, jumpEqual(a.audit, 1, 0), jump(uint32(len(body))))
		p = append(p, body...)
	}
	return append(p, answer(unix.SECCOMP_RET_KILL_PROCESS)) // an interface that nobody can use here
}

// body is the part for one interface. It always ends in an answer.
func (a abi) body() []unix.SockFilter {
	p := []unix.SockFilter{load(dataNr)}
	if a.beyond != 0 {
		p = append(p, jumpAtLeast(a.beyond, 0, 1), answer(missing))
	}
	for _, list := range []struct {
		numbers []uint32
		answer  uint32
	}{{a.refused, denied}, {a.missing, missing}} {
		for _, nr := range list.numbers {
			p = append(p, jumpEqual(nr, 0, 1), answer(list.answer))
		}
	}
	var known []unix.SockFilter
	for _, f := range families {
		known = append(known, jumpEqual(f, 0, 1), answer(unix.SECCOMP_RET_ALLOW))
	}
	known = append(known, answer(unix.SECCOMP_RET_ERRNO|uint32(unix.EAFNOSUPPORT)))
	newUser := []unix.SockFilter{jumpSet(unix.CLONE_NEWUSER, 0, 1), answer(denied), answer(unix.SECCOMP_RET_ALLOW)}
	for _, c := range []struct {
		nr, arg uint32
		rest    []unix.SockFilter
	}{
		{a.socket, 0, known},
		{a.socketpair, 0, known},
		{a.clone, 0, newUser},
		{a.unshare, 0, newUser},
		// Input pushed into a terminal.
		{a.ioctl, 1, []unix.SockFilter{
			jumpEqual(unix.TIOCSTI, 0, 1), answer(denied), jumpEqual(unix.TIOCLINUX, 0, 1), answer(denied), answer(unix.SECCOMP_RET_ALLOW),
		}},
		{a.ptrace, 0, ptraceAnswers},
	} {
		part := append([]unix.SockFilter{load(dataArgs + 8*c.arg)}, c.rest...)
		p = append(p, jumpEqual(c.nr, 0, uint8(len(part))))
		p = append(p, part...)
	}
	return append(p, answer(unix.SECCOMP_RET_ALLOW))
}

// errnoZero answers that a call is done, without doing it.
const errnoZero = unix.SECCOMP_RET_ERRNO

// ptraceAnswers are given to CRIU. Nobody else in a user namespace would get another answer than a refusal.
var ptraceAnswers = []unix.SockFilter{
	jumpEqual(unix.PTRACE_SECCOMP_GET_METADATA, 0, 1), answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)), // not supported
	jumpEqual(unix.PTRACE_SECCOMP_GET_FILTER, 0, 4),
	load(dataArgs + 8*2), // which one: the first has no instructions, and there is no other
	jumpEqual(0, 0, 1), answer(errnoZero),
	answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOENT)),
	jumpEqual(unix.PTRACE_SETOPTIONS, 1, 0), answer(unix.SECCOMP_RET_ALLOW),
	load(dataArgs + 8*3),
	jumpSet(unix.PTRACE_O_SUSPEND_SECCOMP, 0, 1), answer(errnoZero), // done; other options are set apart from it
	answer(unix.SECCOMP_RET_ALLOW),
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func answer(with uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: with}
}

func jump(over uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: over}
}

// The conditional jumps say how many instructions to leave out if it is so, and if not.
func jumpEqual(k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func jumpAtLeast(k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func jumpSet(bits uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: bits, Jt: yes, Jf: no}
}

// takeFilter binds the calling thread, and what it starts from now on, to the filter. Privileges must have
// been forbidden before. On architectures that have no table there is none.
func takeFilter(but ...uint32) error {
	// What clone3 is to make cannot be seen by a filter. This holds for all ways into a user namespace,
	// and those are the door to everything that the kernel else does for root alone.
	err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forbid user namespaces: %w", err)
	}
	if len(abis) == 0 {
		return nil
	}
	p := program(allowing(abis, but))
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", os.NewSyscallError("seccomp", errno))
	}
	return nil
}

// allowing gives the interfaces, of which the first, the machine's own, refuses no system call of these.
func allowing(abis []abi, calls []uint32) []abi {
	abis = slices.Clone(abis)
	abis[0].refused = slices.DeleteFunc(slices.Clone(abis[0].refused), func(nr uint32) bool { return slices.Contains(calls, nr) })
	return abis
}

// ownFilters refuses a job of which a thread has taken on further filters: they would be lost with a
// checkpoint.
func ownFilters() error {
	ours, err := filtersOf("/proc/1/task/1/status")
	if err != nil {
		return err
	}
	for _, tid := range tids() {
		// A thread's file is there under /proc/TID, too. One that has ended meanwhile has none.
		n, err := filtersOf(fmt.Sprintf("/proc/%d/status", tid))
		if err == nil && n > ours {
			return errors.New("the job has a filter of system calls of its own, so it cannot be checkpointed")
		}
	}
	return nil
}

// filtersOf is how many filters a thread has, by its status file; 0 if the kernel does not say.
func filtersOf(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return parseFilters(string(text)), nil
}

// parseFilters reads proc_pid_status(5).
func parseFilters(status string) int {
	n := 0
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "Seccomp_filters:"); ok {
			n, _ = strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return n
}
