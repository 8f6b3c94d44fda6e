package startd

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var cpu time.Duration
	m := meter{cpu: func() time.Duration { return cpu }}
	cpu = 10 * time.Second // before anything began
	first := m.begin()
	cpu += 4 * time.Second // the first's alone
	second := m.begin()
	cpu += 2 * time.Second // of both
	if got := first(); got != 5*time.Second {
		t.Errorf("the first had %v, want 5s", got)
	}
	if got := first(); got != 0 {
		t.Errorf("ended again, the first had %v more", got)
	}
	cpu += 3 * time.Second
	if got := second(); got != 4*time.Second {
		t.Errorf("the second had %v, want 4s", got)
	}
	cpu += time.Minute // nothing is under way
	third := m.begin()
	cpu += time.Second
	if got := third(); got != time.Second {
		t.Errorf("the third had %v, want 1s", got)
	}
	if got := (&meter{}).begin()(); got != 0 {
		t.Errorf("without a measure it is %v", got)
	}
}

func TestProcessorTime(t *testing.T) {
	before := ProcessorTime()
	for begun := time.Now(); ProcessorTime() <= before; {
		if time.Since(begun) > time.Minute {
			t.Fatal("a busy process uses no processor time")
		}
	}
}
