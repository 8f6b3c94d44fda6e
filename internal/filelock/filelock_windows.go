package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// Take makes the file at path, if it is missing, and holds it until the file is closed or the process ends: [ErrHeld] when
// somebody else holds it. A process that this one starts does not hold it too.
func Take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped)); err != nil {
		f.Close()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			return nil, ErrHeld
		}
		return nil, err
	}
	return f, nil
}
