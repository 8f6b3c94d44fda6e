package bus

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limitSilence has the kernel end a connection of which nothing that was sent has been confirmed for that long.
// Without it the kernel tries for a quarter of an hour.
func limitSilence(conn syscall.RawConn, most time.Duration) error {
	var err error
	if ctl := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(most.Milliseconds()))
	}); ctl != nil {
		return ctl
	}
	return os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", err)
}
