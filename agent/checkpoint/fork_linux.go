package checkpoint

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syscall.ForkExec lets the child use its parent's memory until it executes its program. Before Linux 6.3 the
// kernel forbids that to a thread whose children are born into another time namespace than its own, as an init
// does that has restored a job: clone says "invalid argument". So the child gets a copy of the memory there, as it
// does in syscall.ForkExec when it is born into another user namespace.

// start executes a program with the environment and the files given, in the calling thread's namespaces for
// children.
func start(path string, argv, env []string, files []*os.File) (pid int, err error) {
	attr := &syscall.ProcAttr{Env: env}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, err = syscall.ForkExec(path, argv, attr)
	runtime.KeepAlive(files)
	if err == unix.EINVAL {
		pid, err = startApart(path, argv, env, files)
	}
	if err != nil {
		return 0, &os.PathError{Op: "fork/exec", Path: path, Err: err}
	}
	return pid, nil
}

// startApart is start with a plain fork.
func startApart(path string, argv, env []string, files []*os.File) (pid int, err error) {
	path0, err := syscall.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	argv0, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return 0, err
	}
	env0, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return 0, err
	}
	var pipe [2]int // on which the child says why it did not get through
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return 0, err
	}
	defer unix.Close(pipe[0])
	// Above those that they become in the child, where none must overwrite another.
	high := make([]int, 0, len(files)+1)
	defer func() {
		for _, fd := range high {
			unix.Close(fd)
		}
	}()
	raise := func(fd int) error {
		up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, len(files))
		if err == nil {
			high = append(high, up)
		}
		return err
	}
	for _, f := range files {
		if err := raise(int(f.Fd())); err != nil {
			unix.Close(pipe[1])
			return 0, err
		}
	}
	runtime.KeepAlive(files)
	err = raise(pipe[1])
	unix.Close(pipe[1])
	if err != nil {
		return 0, err
	}

	syscall.ForkLock.Lock()
	child, errno := forkExec(path0, &argv0[0], &env0[0], high)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		return 0, errno
	}
	unix.Close(high[len(files)])
	high = high[:len(files)]

	var why [unsafe.Sizeof(errno)]byte
	for {
		n, rerr := unix.Read(pipe[0], why[:])
		switch {
		case rerr == unix.EINTR:
			continue
		case rerr == nil && n == len(why):
			errno = *(*syscall.Errno)(unsafe.Pointer(&why))
		case n != 0 || rerr != nil:
			errno = unix.EPIPE
		}
		break
	}
	if errno != 0 {
		_ = unix.Kill(int(child), unix.SIGKILL) // unless it has ended
		_, _ = reap(int(child))
		return 0, errno
	}
	return int(child), nil
}

// reap waits for the end of a child.
func reap(pid int) (ws unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			return ws, err
		}
	}
}

// forkExec forks. The child makes of the files, but for the last, its first ones and executes the program; if it
// cannot, it writes the error to the last. The caller holds syscall.ForkLock. Between fork and execution the child is
// a copy of one thread of a program that has others: it may call nothing but system calls, nor make its stack
// grow.
//
//go:noinline
//go:norace
//go:nocheckptr
func forkExec(path *byte, argv, env **byte, files []int) (pid uintptr, errno syscall.Errno) {
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	last := len(files) - 1
	for i := range last {
		if _, _, errno = syscall.RawSyscall(unix.SYS_DUP3, uintptr(files[i]), uintptr(i), 0); errno != 0 {
			break
		}
	}
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(env)))
	}
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(files[last]), uintptr(unsafe.Pointer(&errno)), unsafe.Sizeof(errno))
	for {
		syscall.RawSyscall(unix.SYS_EXIT, 253, 0, 0)
	}
}

// What the runtime wants done before and after a fork. It keeps these names for programs that fork themselves, see
// go.dev/issue/67401.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()
