//go:build unix && !darwin

package blob

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makePipe makes a named pipe below root. os.Root has no call for it; the directory is opened through
// root, so no link can lead out.
func makePipe(root *os.Root, name string) error {
	dir, err := root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Mkfifoat(int(dir.Fd()), filepath.Base(name), 0o600); err != nil {
		return &os.PathError{Op: "mkfifo", Path: name, Err: err}
	}
	return nil
}
