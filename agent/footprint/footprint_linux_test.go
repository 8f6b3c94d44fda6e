package footprint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that rests lets go of its program, and does not do so again at once: it would only find the same pages again.
func TestLetGo(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	large, err := os.OpenFile(filepath.Join(t.TempDir(), "program"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	for n := 0; n <= enough; n += len(program) { // this one is small
		if _, err := large.Write(program); err != nil {
			t.Fatal(err)
		}
	}
	m, err := unix.Mmap(int(large.Fd()), 0, enough, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	maps := programMaps()
	useAll := func() (resident int) {
		for _, m := range maps {
			if _, _, e := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_POPULATE_READ); e != 0 {
				t.Fatalf("use all of the program: %v", e)
			}
		}
		return residentProgram()
	}
	before := useAll()
	var f Footprint
	defer f.Work()
	f.Rest()
	if now, _ := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); now != 1 {
		t.Error("a process that rests may be given huge pages")
	}
	if now := residentProgram(); now >= before {
		t.Errorf("a process that rests has %d bytes of its program, as before", now)
	}
	before = useAll()
	f.Rest()
	if now := residentProgram(); now < before {
		t.Errorf("the program was let go of twice within %v", seldom)
	}
	f.letGo = f.letGo.Add(-seldom)
	f.Rest()
	if now := residentProgram(); now >= before {
		t.Errorf("after %v the process has %d bytes of its program, as before", seldom, now)
	}
}

func TestParseMaps(t *testing.T) {
	of := func(line string, anonymous int) string {
		return fmt.Sprintf("%s\nSize:     100 kB\nRss:      96 kB\nPrivate_Dirty:   %d kB\nAnonymous:   %[2]d kB\nVmFlags: rd mr\n", line, anonymous)
	}
	got := parseMaps(strings.NewReader(
		of("00400000-00a3e000 r-xp 00000000 fe:00 2100    /usr/bin/skua-agent", 0) +
			of("00a3e000-01200000 r--p 0063e000 fe:00 2100    /usr/bin/skua-agent (deleted)", 0) +
			of("01200000-01280000 rw-p 00e00000 fe:00 2100    /usr/bin/skua-agent", 0) + // would lose what is written
			of("7ff01000-7ff05000 r--p 001d0000 fe:00 2101    /usr/lib/libc.so.6", 16) + // the same, what was written
			of("c000000000-c000400000 rw-p 00000000 00:00 0", 200) +
			of("7ffd1000-7ffd3000 r-xp 00000000 00:00 0       [vdso]", 0) + "\n",
	))
	if want := []mapping{{0x400000, 0xa3e000}, {0xa3e000, 0x1200000}}; !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
