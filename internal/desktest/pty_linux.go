package desktest

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"skua/agent/probe"
)

// Pty opens a pseudo-terminal with a program on it that reads what is typed, as a shell does that somebody is
// logged in to. Other terminals of the machine are seen by its watcher, too.
func Pty(context.Context) (*Desk, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	d := &Desk{Source: "terminals", Watch: probe.WatchConfig{SkipDisplays: true, SkipDevices: true}}
	d.atClose(func() { master.Close() })
	n, err := control(master, func(fd int) (int, error) {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return 0, err
		}
		return unix.IoctlGetInt(fd, unix.TIOCGPTN)
	})
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("pseudo-terminal: %w", err)
	}
	slave, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		d.Close()
		return nil, err
	}
	ended := make(chan struct{})
	go func() { // ends with the terminal
		defer close(ended)
		_, _ = io.Copy(io.Discard, slave)
	}()
	d.atClose(func() { slave.Close(); <-ended })
	d.Press = func() error {
		_, err := master.WriteString("\n")
		return err
	}
	return d, nil
}

// control calls f with the descriptor of an open file.
func control(file *os.File, f func(fd int) (int, error)) (n int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(fd uintptr) { n, err = f(int(fd)) }); cerr != nil {
		return 0, cerr
	}
	return n, err
}
