//go:build faults && linux

package faultctl

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// wall is read by the runtime's own time.Now, in a build whose runtime was overlaid for that. In others it is read by
// nobody.
//
//go:linkname wall runtime.faultWall
var wall *int64

var messages *int64

func init() {
	path := os.Getenv(Variable)
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faultctl:", err)
		os.Exit(2)
	}
	defer f.Close()
	mem, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faultctl:", err)
		os.Exit(2)
	}
	messages = (*int64)(unsafe.Pointer(&mem[8]))
	wall = (*int64)(unsafe.Pointer(&mem[0]))
}

// Messages is the percentage of messages to disturb, now.
func Messages() int64 {
	if messages == nil {
		return 0
	}
	return atomic.LoadInt64(messages)
}
