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

// dropBehind lets the system forget what it has in memory of a part of a file that nobody will read soon: what is on the disk
// already at once, and of the rest it begins to write, and takes that first when memory gets short. A length of 0 is all.
func dropBehind(f *os.File, off, length int64) {
	_ = unix.Fadvise(int(f.Fd()), off, length, unix.FADV_DONTNEED) // a hint
}

// awaitFlush waits until what startFlush has begun is on the disk.
func awaitFlush(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE) // if it fails, less is dropped
}

// bootID is another one after each start of the system.
func bootID() (id string, known bool) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id = strings.TrimSpace(string(b)); err != nil || checkHolder(id) != nil {
		return "boot", false
	}
	return id, true
}
