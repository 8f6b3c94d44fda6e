package footprint

import "testing"

func TestParseProgramMap(t *testing.T) {
	for _, tt := range []struct {
		line       string
		start, end uintptr
		ok         bool
	}{
		{"00400000-00a3e000 r-xp 00000000 fe:00 2100    /usr/bin/skua-agent\n", 0x400000, 0xa3e000, true},
		{"00a3e000-01200000 r--p 0063e000 fe:00 2100    /usr/bin/skua-agent (deleted)\n", 0xa3e000, 0x1200000, true},
		{"01200000-01280000 rw-p 00e00000 fe:00 2100    /usr/bin/skua-agent\n", 0, 0, false}, // would lose what was written
		{"c000000000-c000400000 rw-p 00000000 00:00 0\n", 0, 0, false},
		{"7ffd1000-7ffd3000 r-xp 00000000 00:00 0       [vdso]\n", 0, 0, false},
		{"\n", 0, 0, false},
	} {
		start, end, ok := parseProgramMap(tt.line)
		if ok != tt.ok || ok && (start != tt.start || end != tt.end) {
			t.Errorf("%q: %x-%x, %v", tt.line, start, end, ok)
		}
	}
}
