// Package faultctl lets a driver of faults reach into programs that were built for it, with the build tag
// "faults": it moves their wall clock and has messages come twice, late or out of order. The programs that ship know
// nothing of it.
//
// The driver writes a [Control] into a file that the environment variable [Variable] names; the programs have the file
// mapped into memory, so that a change is seen at once and costs nothing to look for.
package faultctl

import (
	"encoding/binary"
	"os"
)

// Variable names the file in the environment of a program.
const Variable = "SKUA_FAULTS"

// Control is what a driver asks for.
type Control struct {
	Clock    int64 // seconds that the wall clock is ahead
	Messages int64 // percent of the messages that come twice, and as many late
}

const size = 16

// Write changes what the programs with that file do.
func (c Control) Write(path string) error {
	var b [size]byte
	binary.NativeEndian.PutUint64(b[:], uint64(c.Clock))
	binary.NativeEndian.PutUint64(b[8:], uint64(c.Messages))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644) // the same file, not a new one: it is mapped
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b[:], 0)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
