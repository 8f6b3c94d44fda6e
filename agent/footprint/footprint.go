// Package footprint keeps what waits for long small and quiet.
package footprint

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	garbage = 4 << 20   // bytes of it that a resting process may make before it collects it by itself
	little  = 512 << 10 // bytes made by a moment's work, after which there is nothing to give back
	enough  = 4 << 20   // bytes of the program that may stay in memory

	// seldom is how often pages of the program are let go of at the most. An agent finds about a hundred of them again
	// on its next beat, which takes a tenth of a millisecond on most machines and some seven on virtual ones whose page
	// tables are shadowed. Without a job the beats are five minutes apart, but for the first ones.
	seldom = 50 * time.Second
)

// Footprint is that of this process, which works at first. One goroutine uses it.
type Footprint struct {
	rests   bool
	program []mapping // the parts of the program that can be let go of
	made    uint64    // bytes of memory asked for until the last collection
	letGo   time.Time // when pages of the program were let go of
}

// Rest gives back what this process has needed and does not now: free pages of the heap and, on Linux, its hold
// on the pages of the program, of which little is used while it waits. It takes some milliseconds. Called again
// while the process rests, it gives back what has come since, if that is worth it.
//
// A resting process collects garbage when there is some of it, and not every two minutes as well, which is most of
// what a process costs that hardly does anything; and its goroutines share one processor, so that none wakes a
// second thread. Before it has much to do again it must call Work.
//
// A process that has never collected garbage does not begin with it here: the books of the collector, a megabyte
// of them, would be larger than what it finds.
func (f *Footprint) Rest() {
	if now := readMemory(); !f.rests || now.made-f.made >= little {
		if !f.rests {
			smallPages()
		}
		if now.collections > 0 {
			runtime.GC() // what pools keep survives one collection
			debug.FreeOSMemory()
			now = readMemory()
		}
		f.made = now.made
		if !f.rests {
			f.rests, f.letGo = true, time.Time{}
			f.program = programMaps()
			debug.SetMemoryLimit(now.inUse + garbage)
			debug.SetGCPercent(-1)
			runtime.GOMAXPROCS(1)
		}
	}
	if now := time.Now(); now.Sub(f.letGo) >= seldom && residentProgram() > enough {
		letGo(f.program)
		f.letGo = now
	}
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

// memory is what the Go runtime says of this process's.
type memory struct {
	inUse       int64  // bytes that it has of the system, as it counts them for its limit
	made        uint64 // bytes asked for since the start
	collections uint64
}

func readMemory() memory {
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(s)
	return memory{int64(s[0].Value.Uint64() - s[1].Value.Uint64()), s[2].Value.Uint64(), s[3].Value.Uint64()}
}
