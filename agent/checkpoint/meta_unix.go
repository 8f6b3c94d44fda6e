//go:build unix

package checkpoint

import "syscall"

// openPlain has an open neither follow a link nor wait for the other end of a pipe.
const openPlain = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
