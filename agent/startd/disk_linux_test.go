package startd

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// A file system is as full as its blocks or its inodes, whichever is worse.
func TestRoomOf(t *testing.T) {
	const block, blocks = 4096, 250_000_000 // 1 TB
	for _, tt := range []struct {
		name        string
		avail       uint64
		files, left uint64
		want        int64
	}{
		{"there are enough inodes", blocks / 2, 60_000_000, 59_000_000, blocks / 2 * block},
		{"they are nearly gone", blocks / 2, 60_000_000, 60_000, blocks / 1000 * block},
		{"they are gone", blocks / 2, 60_000_000, 0, 0},
		{"it has no limit of them", blocks / 2, 0, 0, blocks / 2 * block},
		{"it does not know how many are left", blocks / 2, 60_000_000, math.MaxUint64, blocks / 2 * block},
		{"neither is left", 0, 60_000_000, 60_000, 0},
	} {
		free, total := roomOf(unix.Statfs_t{Bsize: block, Blocks: blocks, Bavail: tt.avail, Files: tt.files, Ffree: tt.left})
		if total != blocks*block || free < tt.want-block || free > tt.want {
			t.Errorf("%s: %d of %d bytes are free, want %d", tt.name, free, total, tt.want)
		}
	}
}
