//go:build unix

package startd

import (
	"io/fs"
	"syscall"
)

// allocated is the disk that a file takes, in bytes, and what tells a file that has several names by
// all of them; 0 for one that has one.
func allocated(fi fs.FileInfo) (n int64, link uint64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fi.Size(), 0
	}
	if st.Nlink > 1 && !fi.IsDir() {
		link = st.Ino
	}
	const block = 512 // whatever the file system's own is
	return st.Blocks * block, link
}
