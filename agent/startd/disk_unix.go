//go:build unix

package startd

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskSpace is what the file system of a directory has, for those without privileges, in bytes. Where it has fewer files
// left than room for them, it is what these are of all that it can have.
func diskSpace(dir string) (free, total int64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, false
	}
	free, total = roomOf(st)
	return free, total, true
}

func roomOf(st unix.Statfs_t) (free, total int64) {
	block := int64(st.Bsize)
	free, total = int64(st.Bavail)*block, int64(st.Blocks)*block
	// Of more files than there can be nobody knows how many are left: CephFS says -1.
	left := uint64(st.Ffree)
	if st.Files > 0 && left <= uint64(st.Files) { // else it has no limit of them
		free = min(free, int64(float64(total)*(float64(left)/float64(st.Files))))
	}
	return free, total
}

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
