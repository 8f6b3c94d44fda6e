package eventlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Reader follows a log while others write it.
type Reader struct {
	Location *time.Location // zone of dates that name none; nil is the local zone

	path   string
	f      *os.File
	offset int64 // of the first byte that Next has not given out
	buf    []byte
}

// OpenReader opens the log for reading from its beginning.
func OpenReader(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &Reader{path: path, f: f}, nil
}

// Close closes the log.
func (r *Reader) Close() error { return r.f.Close() }

// Offset is where the next event begins. [Reader.SeekTo] goes on from there at another time.
func (r *Reader) Offset() int64 { return r.offset }

// SeekTo makes an offset that Offset gave the place where Next goes on.
func (r *Reader) SeekTo(offset int64) { r.offset, r.buf = offset, nil }

// ErrNotEvent is the cause of an error for text that is no event. Next has passed over it.
var ErrNotEvent = errors.New("not a job event")

// Next returns the next event. io.EOF means that there is no whole one yet: call again when the log
// has grown. A log that has become shorter was begun anew and is read from its beginning, and so is
// another file under its name, after the end of the one before. Text that is no event gives an error
// that wraps [ErrNotEvent], once; the events after it can be read. A log in HTCondor's XML form is an
// error each time.
func (r *Reader) Next() (Event, error) {
	if info, err := r.f.Stat(); err != nil {
		return Event{}, err
	} else if info.Size() < r.offset {
		r.SeekTo(0)
	}
	for {
		if r.offset == 0 && isXML(string(r.buf[:min(len(r.buf), 64)])) {
			return Event{}, errXML
		}
		if n, whole, broken := cutEvent(r.buf); whole {
			return r.take(n, broken)
		}
		if len(r.buf) > MaxEvent {
			at := r.offset
			r.offset, r.buf = r.offset+int64(len(r.buf)), nil
			return Event{}, fmt.Errorf("%s at byte %d: %w: more than %d bytes without an end", r.path, at, ErrNotEvent, MaxEvent)
		}
		const chunk = 64 << 10
		at := r.offset + int64(len(r.buf))
		more := make([]byte, chunk)
		n, err := r.f.ReadAt(more, at)
		r.buf = append(r.buf, more[:n]...)
		if n > 0 {
			continue
		}
		if err != nil && err != io.EOF {
			return Event{}, err
		}
		if moved, err := r.reopen(); err != nil {
			return Event{}, err
		} else if !moved {
			return Event{}, io.EOF
		}
	}
}

// take gives out the event in the first n bytes of what has been read.
func (r *Reader) take(n int, broken bool) (Event, error) {
	text, at := string(r.buf[:n]), r.offset
	r.buf, r.offset = r.buf[n:], r.offset+int64(n)
	if broken {
		return Event{}, fmt.Errorf("%s at byte %d: %w: it was not written to its end", r.path, at, ErrNotEvent)
	}
	e, err := Parse(text, r.Location)
	if err != nil {
		return Event{}, fmt.Errorf("%s at byte %d: %w: %w", r.path, at, ErrNotEvent, err)
	}
	return e, nil
}

// reopen goes over to another file that has taken the log's name, as when logs are rotated. What is left
// unread of the old one is half an event, to which nothing is added any more.
func (r *Reader) reopen() (bool, error) {
	there, err := os.Stat(r.path)
	if err != nil {
		return false, nil // moved away, and the new one is not there yet
	}
	here, err := r.f.Stat()
	if err != nil || os.SameFile(here, there) {
		return false, err
	}
	f, err := os.Open(r.path)
	if err != nil {
		return false, err
	}
	r.f.Close()
	r.f = f
	r.SeekTo(0)
	return true, nil
}
