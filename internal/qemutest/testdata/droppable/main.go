// Droppable has memory of a kind that Linux knows since 6.11, and waits.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const mapDroppable = 0x08

func main() {
	b, err := syscall.Mmap(-1, 0, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE, mapDroppable|syscall.MAP_ANONYMOUS)
	if err != nil {
		fmt.Fprintln(os.Stderr, "droppable:", err)
		os.Exit(1)
	}
	b[0] = 1
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
}
