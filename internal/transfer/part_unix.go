//go:build unix

package transfer

import (
	"io/fs"
	"os"
	"syscall"
)

// onlyOurs reports whether a file is this user's and has one name.
func onlyOurs(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && st.Nlink == 1
}
