package footprint

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shrinkProgram lets go of the pages of the program, which come back from the page cache when they are used.
func shrinkProgram() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return // it stays as large as it is
	}
	for line := range strings.Lines(string(maps)) {
		if start, end, ok := parseProgramMap(line); ok {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED)
		}
	}
}

// parseProgramMap reads a line of /proc/self/maps. It is false for whatever is not a read-only part of a file:
//
//	00400000-00a3e000 r-xp 00000000 fe:00 2100 /usr/bin/skua-agent
func parseProgramMap(line string) (start, end uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || !strings.HasPrefix(f[1], "r-") || !strings.HasPrefix(f[5], "/") {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	a, errA := strconv.ParseUint(from, 16, 64)
	b, errB := strconv.ParseUint(to, 16, 64)
	return uintptr(a), uintptr(b), errA == nil && errB == nil && a < b
}
