package startd

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// diskSpace is what the file system of a directory has, in bytes.
func diskSpace(dir string) (free, total int64, ok bool) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, false
	}
	var f, n uint64
	if err := windows.GetDiskFreeSpaceEx(path, &f, &n, nil); err != nil {
		return 0, 0, false
	}
	return int64(f), int64(n), true
}

// allocated is the disk that a file takes, in bytes, as far as its size tells.
func allocated(fi fs.FileInfo) (n int64, link uint64) { return fi.Size(), 0 }
