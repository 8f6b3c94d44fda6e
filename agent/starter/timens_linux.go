package starter

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const offsetsFile = "/proc/self/timens_offsets"

// timeNamespace is the clock of the job: ours, or ours moved so that the clocks of a restored job go
// on from where they stood. It belongs to the first thread.
type timeNamespace struct {
	there      bool
	mono, boot time.Duration // the machine's offsets against the kernel's clocks
	dm, db     time.Duration // the job's clocks against the machine's
}

// read learns the offsets that we were born with.
func (t *timeNamespace) read() {
	b, err := os.ReadFile(offsetsFile)
	if err != nil {
		return // a kernel without time namespaces
	}
	t.there = true
	for line := range strings.Lines(string(b)) {
		var name string
		var sec, ns int64
		if n, _ := fmt.Sscan(line, &name, &sec, &ns); n != 3 {
			continue
		}
		switch d := time.Duration(sec)*time.Second + time.Duration(ns); name {
		case "monotonic":
			t.mono = d
		case "boottime":
			t.boot = d
		}
	}
}

// now returns the job's clocks.
func (t *timeNamespace) now() (mono, boot time.Duration) {
	return clock(unix.CLOCK_MONOTONIC) + t.dm, bootClock() + t.db
}

// set makes the clocks of what is started from now on by this thread go on from mono and boot.
func (t *timeNamespace) set(mono, boot time.Duration) error {
	if !t.there {
		return errors.New("the kernel has no time namespaces")
	}
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("make a time namespace: %w", err)
	}
	dm, db := mono-clock(unix.CLOCK_MONOTONIC), boot-bootClock()
	text := offsetLine("monotonic", t.mono+dm) + offsetLine("boottime", t.boot+db)
	if err := os.WriteFile(offsetsFile, []byte(text), 0); err != nil {
		return fmt.Errorf("set the job's clocks: %w", err)
	}
	t.dm, t.db = dm, db
	return nil
}

// offsetLine writes d as seconds, possibly negative, and nanoseconds, never negative.
func offsetLine(name string, d time.Duration) string {
	sec, ns := d/time.Second, d%time.Second
	if ns < 0 {
		sec, ns = sec-1, ns+time.Second
	}
	return fmt.Sprintf("%s %d %d\n", name, int64(sec), int64(ns))
}
