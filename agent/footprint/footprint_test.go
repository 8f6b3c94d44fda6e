package footprint_test

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"skua/agent/footprint"
)

var kept []byte

// A resting process collects its garbage when there is much of it, and not before.
func TestRest(t *testing.T) {
	var f footprint.Footprint
	f.Rest()
	defer f.Work()
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumGC
	}
	before := collections()
	for range 100 {
		kept = make([]byte, 10<<10)
	}
	if n := collections() - before; n != 0 {
		t.Errorf("a megabyte of garbage was collected %d times", n)
	}
	for range 10_000 {
		kept = make([]byte, 10<<10)
	}
	if collections() == before {
		t.Error("a hundred megabytes of garbage were never collected")
	}
	f.Rest() // once more, which lets go of this very code
	f.Work()
	if percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1); percent != 100 || limit != math.MaxInt64 {
		t.Errorf("at work garbage is collected at %d %% and %d bytes", percent, limit)
	}
}
