package footprint

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// smallPages has the kernel give this process no huge pages from now on. Where it does so for all programs, as on Debian, it would
// soon fill what is free between what a resting process needs, and its heap be several times as large. Processes that
// this one starts inherit it: a claim's init takes it back for its jobs.
func smallPages() { _ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0) }

// programMaps finds what letGo may be called with, in this process.
func programMaps() []mapping {
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil // it stays as large as it is
	}
	defer smaps.Close()
	return parseMaps(smaps)
}

// residentProgram is how many bytes of files this process has in memory, of which nearly all are the program's.
func residentProgram() int {
	statm, _ := os.ReadFile("/proc/self/statm")
	if f := strings.Fields(string(statm)); len(f) > 2 {
		pages, _ := strconv.Atoi(f[2])
		return pages * os.Getpagesize()
	}
	return 0 // nothing is let go of
}

// letGo lets go of pages of the program, which come back from the page cache when they are used.
func letGo(maps []mapping) {
	for _, m := range maps {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// parseMaps reads /proc/self/smaps for the read-only parts of files of which no page is a copy that was written to.
// A linker writes to some before it makes them read-only, and that would be lost.
//
//	00400000-00a3e000 r-xp 00000000 fe:00 2100 /usr/bin/skua-agent
//	Anonymous:             0 kB
func parseMaps(smaps io.Reader) (found []mapping) {
	var of mapping
	candidate := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 0:
		case !strings.HasSuffix(f[0], ":"):
			of, candidate = parseMap(f)
		case candidate && f[0] == "Anonymous:":
			if len(f) > 1 && f[1] == "0" {
				found = append(found, of)
			}
			candidate = false
		}
	}
	return found
}

// parseMap reads the fields of a mapping's first line. It is false for whatever is no read-only part of a file.
func parseMap(f []string) (m mapping, ok bool) {
	if len(f) < 6 || !strings.HasPrefix(f[1], "r-") || !strings.HasPrefix(f[5], "/") {
		return m, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	a, errA := strconv.ParseUint(from, 16, 64)
	b, errB := strconv.ParseUint(to, 16, 64)
	return mapping{uintptr(a), uintptr(b)}, errA == nil && errB == nil && a < b
}
