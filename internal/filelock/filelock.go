// Package filelock has one process at a time hold a file.
//
// Nothing is in the way of whoever does not ask for the lock. It is for directories on a local disk: what a server of files
// makes of it is the server's affair. Nobody waits here; whoever wants to tries again.
package filelock

import "errors"

// ErrHeld is the error of a file that somebody else holds.
var ErrHeld = errors.New("locked by another process")
