package peer

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

func of(c net.Conn) (Process, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return Process{}, fmt.Errorf("%T is no unix socket", c)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Process{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Process{}, err
	}
	if credErr != nil {
		return Process{}, fmt.Errorf("ask the kernel who is connected: %w", credErr)
	}
	return Process{PID: int(cred.Pid), UID: cred.Uid}, nil
}
