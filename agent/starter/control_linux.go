package starter

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// Files of the kernel, in /proc and in cgroups, are read and written several times for every job. Neither has to be waited
// for; package os finds that out anew each time, and that takes longer than the rest.

// readControl is os.ReadFile for a file of the kernel.
func readControl(path string) ([]byte, error) {
	fd, err := openControl(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	const usual = 1 << 10
	text := make([]byte, 0, usual)
	for {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := unix.Read(fd, text[len(text):cap(text)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case n <= 0:
			return text, nil
		default:
			text = text[:len(text)+n]
		}
	}
}

// writeControl writes a value into a file of the kernel, which must be there.
func writeControl(path string, value []byte) error {
	fd, err := openControl(path, unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, value)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return &fs.PathError{Op: "write", Path: path, Err: err}
		default:
			return nil
		}
	}
}

func openControl(path string, mode int) (int, error) {
	for {
		fd, err := unix.Open(path, mode|unix.O_CLOEXEC, 0)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		default:
			return fd, nil
		}
	}
}
