// Package footprint keeps what waits for long small and quiet.
package footprint

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// garbage is how many bytes of it a resting process may make before it collects it.
const garbage = 4 << 20

// Footprint is that of this process, which works at first. One goroutine uses it.
type Footprint struct {
	rests   bool
	program []mapping // the parts of the program that can be let go of
}

// Rest gives back what this process has needed and does not now: free pages of the heap and, on Linux, its hold
// on the pages of the program, of which little is used while it waits. It takes some milliseconds. Called again
// while the process rests, it lets go of the program's pages that have been used since, which takes next to nothing.
//
// A resting process collects garbage when there is some of it, and not every two minutes as well, which is most of
// what a process costs that hardly does anything; and its goroutines share one processor, so that none wakes a
// second thread. Before it has much to do again it must call Work.
func (f *Footprint) Rest() {
	if !f.rests {
		f.rests = true
		runtime.GC() // what pools keep survives one collection
		debug.FreeOSMemory()
		f.program = programMaps()
		debug.SetMemoryLimit(inUse() + garbage)
		debug.SetGCPercent(-1)
		runtime.GOMAXPROCS(1)
	}
	letGo(f.program)
}

// Work has garbage collected, and goroutines run, as usual.
func (f *Footprint) Work() {
	f.rests = false
	runtime.SetDefaultGOMAXPROCS()
	debug.SetGCPercent(100)
	debug.SetMemoryLimit(math.MaxInt64)
}

// mapping is a part of a process's memory.
type mapping struct{ start, end uintptr }

// inUse is how many bytes the Go runtime has of the system, as it counts them for its limit.
func inUse() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
