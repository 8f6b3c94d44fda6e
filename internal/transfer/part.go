package transfer

import (
	"errors"
	"io/fs"
	"os"
)

// openPart opens the beginning of a download, or an empty file for one. Where others may write into the directory, one of them
// may have put a link there, to have what it leads to written over: whatever is not a plain file of our own, with no
// other name, is removed.
func openPart(name string) (*os.File, error) {
	if was, err := os.Lstat(name); err == nil && was.Mode().IsRegular() && onlyOurs(was) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		if is, err := f.Stat(); err == nil && os.SameFile(was, is) {
			return f, nil
		}
		f.Close()
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}
