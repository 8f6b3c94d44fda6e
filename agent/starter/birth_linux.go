package starter

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// birth is the start of one init.
type birth struct {
	s   *Starter
	dir string
	uid int // of the init
	cfg initConfig
	cg  *jobCgroup

	runtime string // directory of the job's runtime root, "" for none
}

// root takes hold of the directory of the job's runtime root, and tells the init of it. The way there may be closed to
// the init's ids, so it is given a mount; an agent that is not root cannot make one, and needs none.
func (b *birth) root() (*os.File, error) {
	if b.runtime == "" {
		return nil, nil
	}
	if !b.s.mapped {
		b.cfg.Runtime = b.runtime
		return nil, nil
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, b.runtime, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "take hold of", Path: b.runtime, Err: err}
	}
	b.cfg.RuntimeFD = fdProcs
	if b.cg != nil {
		b.cfg.RuntimeFD = fdJoins + len(b.cg.legacy)
	}
	return os.NewFile(uintptr(fd), b.runtime), nil
}

// start executes this program again as the init.
func (b *birth) start() (pidfd int, err error) {
	var files []*os.File
	defer func() { closeAll(files) }()
	open := func(path string, flags int) error {
		f, err := os.OpenFile(path, flags, 0o600)
		if err == nil {
			files = append(files, f)
		}
		return err
	}
	state := filepath.Join(b.dir, stateName)
	if err := errors.Join(
		open(os.DevNull, os.O_RDWR),
		open(filepath.Join(state, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND),
		open(state, os.O_RDONLY|unix.O_DIRECTORY),
		open(filepath.Join(b.dir, imageName), os.O_RDONLY|unix.O_DIRECTORY),
	); err != nil {
		return -1, err
	}
	null, log, stateDir, imageDir := files[0], files[1], files[2], files[3]

	// Bound here, because the path to it may be closed to the init, but made to listen there: then it
	// is the init's identity that we meet when we connect.
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	files = append(files, os.NewFile(uintptr(sock), socketName))
	if err := unix.Bind(sock, &unix.SockaddrUnix{Name: socketIn(stateDir)}); err != nil {
		return -1, os.NewSyscallError("bind", err)
	}

	root, err := b.root()
	if err != nil {
		return -1, err
	}
	if root != nil {
		files = append(files, root)
	}

	r, w, err := os.Pipe()
	if err != nil {
		return -1, err
	}
	files = append(files, r)
	err = json.NewEncoder(w).Encode(b.cfg) // far below the capacity of a pipe
	if err = errors.Join(err, w.Close()); err != nil {
		return -1, err
	}

	attr := &syscall.ProcAttr{
		Env: []string{"PATH=" + jobPath, "GOTRACEBACK=single"},
		Files: []uintptr{
			null.Fd(), null.Fd(), log.Fd(),
			fdConfig: r.Fd(), fdListen: uintptr(sock), fdState: stateDir.Fd(), fdImage: imageDir.Fd(),
		},
		Sys: b.namespaces(&pidfd),
	}
	if b.cg != nil {
		attr.Files = append(attr.Files, b.cg.procs.Fd(), b.cg.freeze.Fd(), b.cg.events.Fd())
		for _, dir := range b.cg.legacy {
			if err := open(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY); err != nil {
				return -1, err
			}
			attr.Files = append(attr.Files, files[len(files)-1].Fd())
		}
	}
	if root != nil {
		attr.Files = append(attr.Files, root.Fd())
	}
	return pidfd, forkIn(b.dir, attr)
}

func (b *birth) namespaces(pidfd *int) *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{
		Setsid: true,
		PidFD:  pidfd,
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUTS,
	}
	if b.cfg.Network != NetHost {
		sys.Cloneflags |= unix.CLONE_NEWNET
	}
	if b.s.mapped {
		m := []syscall.SysProcIDMap{{ContainerID: 0, HostID: b.uid, Size: idCount}}
		sys.UidMappings, sys.GidMappings, sys.GidMappingsEnableSetgroups = m, m, true
		sys.Credential = &syscall.Credential{}
	} else {
		sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return sys
}

// forkIn starts the init with dir as its working directory. The way there may be closed to its ids,
// so it cannot go there itself: a thread of ours does, and forks.
func forkIn(dir string, attr *syscall.ProcAttr) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			err = os.NewSyscallError("unshare", err)
			return
		}
		if err = unix.Chdir(dir); err != nil {
			err = &os.PathError{Op: "chdir", Path: dir, Err: err}
			return
		}
		_, err = syscall.ForkExec("/proc/self/exe", []string{initName}, attr)
	}()
	<-done
	return err
}

// socketIn names the socket in an open directory, shorter than the 107 bytes that an address holds.
func socketIn(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName) }
