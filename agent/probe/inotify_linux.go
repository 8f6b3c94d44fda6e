package probe

import (
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// inotify is a queue of file events whose reader sleeps in the runtime's poller, not in a thread.
type inotify struct {
	f   *os.File
	buf [4096]byte
}

func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &inotify{f: os.NewFile(uintptr(fd), "inotify")}, nil
}

// add watches path for mask and returns the watch's number.
func (n *inotify) add(path string, mask uint32) (int32, error) {
	raw, err := n.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var wd int
	var addErr error
	err = raw.Control(func(fd uintptr) { wd, addErr = unix.InotifyAddWatch(int(fd), path, mask) })
	if err == nil {
		err = addErr
	}
	if err != nil {
		return 0, fmt.Errorf("watch %s: %w", path, err)
	}
	return int32(wd), nil
}

// read waits for events. It fails once the queue is closed.
func (n *inotify) read() (iter.Seq[fileEvent], error) {
	size, err := n.f.Read(n.buf[:])
	if err != nil {
		return nil, err
	}
	return fileEvents(n.buf[:size]), nil
}

func (n *inotify) Close() error { return n.f.Close() }

// fileEvent is one inotify event; name is set for watched directories.
type fileEvent struct {
	watch int32
	mask  uint32
	name  string
}

// fileEvents splits what the kernel wrote into events. A cut-off end is dropped.
func fileEvents(b []byte) iter.Seq[fileEvent] {
	return func(yield func(fileEvent) bool) {
		for len(b) >= unix.SizeofInotifyEvent {
			size := uint64(binary.NativeEndian.Uint32(b[12:]))
			if size > uint64(len(b)-unix.SizeofInotifyEvent) {
				return
			}
			end := unix.SizeofInotifyEvent + int(size)
			ev := fileEvent{
				watch: int32(binary.NativeEndian.Uint32(b)),
				mask:  binary.NativeEndian.Uint32(b[4:]),
				name:  strings.TrimRight(string(b[unix.SizeofInotifyEvent:end]), "\x00"),
			}
			if !yield(ev) {
				return
			}
			b = b[end:]
		}
	}
}
