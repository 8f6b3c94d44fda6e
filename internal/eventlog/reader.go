package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Reader follows a log while others write it.
type Reader struct {
	Location *time.Location // zone of dates that name none; nil is the local zone

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
	return &Reader{f: f}, nil
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
// has grown. A log that has become shorter was begun anew and is read from its beginning. Text that
// is no event gives an error that wraps [ErrNotEvent], once; the events after it can be read.
func (r *Reader) Next() (Event, error) {
	if info, err := r.f.Stat(); err != nil {
		return Event{}, err
	} else if info.Size() < r.offset {
		r.SeekTo(0)
	}
	for {
		if n, whole := cutEvent(r.buf); whole {
			text := string(r.buf[:n])
			at := r.offset
			r.buf, r.offset = r.buf[n:], r.offset+int64(n)
			e, err := Parse(text, r.Location)
			if err != nil {
				return Event{}, fmt.Errorf("%s at byte %d: %w: %v", r.f.Name(), at, ErrNotEvent, err)
			}
			return e, nil
		}
		if len(r.buf) > MaxEvent {
			at := r.offset
			r.offset, r.buf = r.offset+int64(len(r.buf)), nil
			return Event{}, fmt.Errorf("%s at byte %d: %w: more than %d bytes without an end", r.f.Name(), at, ErrNotEvent, MaxEvent)
		}
		const chunk = 64 << 10
		at := r.offset + int64(len(r.buf))
		more := make([]byte, chunk)
		n, err := r.f.ReadAt(more, at)
		r.buf = append(r.buf, more[:n]...)
		if n == 0 {
			if err == nil {
				err = io.EOF
			}
			return Event{}, err
		}
	}
}

// cutEvent finds the end of the first event in b: a line of three dots.
func cutEvent(b []byte) (n int, whole bool) {
	for n < len(b) {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return 0, false
		}
		line := b[n : n+i]
		n += i + 1
		if isEnd(string(line)) {
			return n, true
		}
	}
	return 0, false
}
