package probe

import (
	"io/fs"
	"syscall"
	"time"
)

func stampOf(fi fs.FileInfo) fileStamp {
	s := fileStamp{size: fi.Size(), modified: fi.ModTime()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = uint64(st.Dev), st.Ino
		s.changed = time.Duration(st.Ctim.Nano())
	}
	return s
}
