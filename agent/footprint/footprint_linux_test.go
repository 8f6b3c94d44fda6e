package footprint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

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
