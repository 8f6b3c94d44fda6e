package session

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Kind is what a helper says.
type Kind byte

// What a helper may say. After Blind and Nobody it ends.
const (
	Busy   Kind = iota + 1 // there is input, until a Quiet says otherwise
	Quiet                  // there has been none for Idle
	Blind                  // there is a display server that shows its input to nobody
	Nobody                 // no display server answers
)

func (k Kind) String() string { return name(int(k), "busy", "quiet", "blind", "nobody") }

// Source is where a helper knows it from.
type Source byte

// The sources, in the order in which they are tried.
const (
	Wayland     Source = iota + 1 // a compositor
	Mutter                        // GNOME's org.gnome.Mutter.IdleMonitor
	X11                           // an alarm of the X server
	ScreenSaver                   // the X server is asked again and again
)

func (s Source) String() string { return name(int(s), "wayland", "mutter", "x11", "x11 screen saver") }

// name gives the i-th name, counted from one.
func name(i int, names ...string) string {
	if i < 1 || i > len(names) {
		return fmt.Sprint("unknown ", i)
	}
	return names[i-1]
}

// Report is one message of a helper.
type Report struct {
	Kind   Kind
	Source Source        // of Busy and Quiet; zero otherwise
	Idle   time.Duration // of Quiet: whole milliseconds, longestIdle at most; zero otherwise
}

const (
	reportSize  = 16                      // bytes
	longestIdle = 1e11 * time.Millisecond // three years
)

// A report is two letters, the version, kind, source, three zeros, and the milliseconds.
const (
	magic   = "SK"
	version = 1
)

func (r Report) encode() []byte {
	b := append(make([]byte, 0, reportSize), magic...)
	b = append(b, version, byte(r.Kind), byte(r.Source), 0, 0, 0)
	idle := max(0, min(r.Idle, longestIdle))
	return binary.LittleEndian.AppendUint64(b, uint64(idle/time.Millisecond))
}

// parseReport reads what may come from a hostile user. Whatever is not exactly a report is an error.
func parseReport(b []byte) (Report, error) {
	if len(b) != reportSize || string(b[:2]) != magic || b[2] != version || b[5] != 0 || b[6] != 0 || b[7] != 0 {
		return Report{}, fmt.Errorf("message of %d bytes is not a report", len(b))
	}
	r := Report{Kind: Kind(b[3]), Source: Source(b[4])}
	idle := binary.LittleEndian.Uint64(b[8:])
	known := r.Source >= Wayland && r.Source <= ScreenSaver
	switch {
	case idle > uint64(longestIdle/time.Millisecond), idle != 0 && r.Kind != Quiet:
	case (r.Kind == Busy || r.Kind == Quiet) && known, (r.Kind == Blind || r.Kind == Nobody) && r.Source == 0:
		r.Idle = time.Duration(idle) * time.Millisecond
		return r, nil
	}
	return Report{}, fmt.Errorf("report of kind %d from source %d with %d ms makes no sense", r.Kind, r.Source, idle)
}
