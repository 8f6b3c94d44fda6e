// Package peer tells who is at the other end of a unix socket, by what the kernel knows of it.
package peer

import "net"

// Process is a process as the kernel sees it from here.
type Process struct {
	PID int    // 0 if it is in a pid namespace that this process cannot see into
	UID uint32 // in the user namespace of this process
}

// Of gives the process that connected, or listened, at the time it did so. It fails if c is no unix socket, and
// with errors.ErrUnsupported where the kernel does not tell.
func Of(c net.Conn) (Process, error) { return of(c) }
