package footprint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// What letting go costs is measured where it was done.
func TestFindAgain(t *testing.T) {
	maps := programMaps()
	if len(maps) == 0 {
		t.Fatal("this program has no part that can be let go of")
	}
	letGo(maps)
	if each := findAgain(maps); each <= 0 || each >= time.Hour {
		t.Errorf("it takes %v to use a page again", each)
	}
}

// It is done as rarely as it is dear, and not given up altogether.
func TestPause(t *testing.T) {
	for _, c := range []struct {
		bytes int
		each  time.Duration
		want  time.Duration
	}{
		{6 << 20, 500 * time.Nanosecond, 1600 * time.Millisecond},
		{6 << 20, 60 * time.Microsecond, 3*time.Minute + 12*time.Second},
		{6 << 20, 20 * time.Millisecond, time.Hour},
		{6 << 20, 0, 0},
	} {
		if got := pause(c.bytes, c.each); got.Round(time.Millisecond) != c.want {
			t.Errorf("%d bytes at %v each: %v, want %v", c.bytes, c.each, got, c.want)
		}
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
