package blob

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// startFlush has the system begin to write a file to the disk, without waiting for it.
func startFlush(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // a hint
}

// bootID is another one after each start of the system.
func bootID() (id string, known bool) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id = strings.TrimSpace(string(b)); err != nil || checkHolder(id) != nil {
		return "boot", false
	}
	return id, true
}
