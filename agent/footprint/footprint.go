// Package footprint keeps what waits for long small.
package footprint

import "runtime/debug"

// Shrink gives back what this process has needed and does not now: free pages of the heap and, on Linux, its
// hold on the pages of the program, of which little is used while it waits. It takes some milliseconds.
func Shrink() {
	debug.FreeOSMemory()
	shrinkProgram()
}
