package files

import (
	"io"
	"net/http"
	"time"
)

// stall is how long a peer may take for a piece of a transfer, which is what [Config.MinRate] brings in that time.
const stall = 60 * time.Second

// pace is that of one transfer. A peer that has been fast has gained nothing by that: who could save up would hold
// its place for days, at a byte a minute.
type pace struct {
	piece    int64                 // bytes
	deadline func(time.Time) error // of the connection

	moved int64         // bytes of the piece under way
	spent time.Duration // on that, of the peer's time: ours does not count
}

func (s *Service) pace(deadline func(time.Time) error) pace {
	return pace{piece: s.cfg.MinRate * int64(stall/time.Second), deadline: deadline}
}

// move has f move bytes of p. It ends at a deadline.
func (c *pace) move(f func(p []byte) (int, error), p []byte) (int, error) {
	start := time.Now()
	c.deadline(start.Add(stall - c.spent)) // unsupported in some tests: then no limit
	n, err := f(p)
	c.moved, c.spent = c.moved+int64(n), c.spent+time.Since(start)
	if c.moved >= c.piece {
		c.moved, c.spent = 0, 0
	}
	return n, err
}

// steadyReader gives up on a body that comes too slowly.
type steadyReader struct {
	r      io.Reader
	pace   pace
	failed bool
}

func (s *steadyReader) Read(p []byte) (int, error) {
	n, err := s.pace.move(s.r.Read, p)
	if err != nil && err != io.EOF {
		s.failed = true
	}
	return n, err
}

// steadyWriter gives up on a peer who takes an answer too slowly.
type steadyWriter struct {
	http.ResponseWriter
	pace pace
}

func (s *steadyWriter) Write(p []byte) (int, error) { return s.pace.move(s.ResponseWriter.Write, p) }

// ReadFrom implements [io.ReaderFrom] with memory that was used before.
func (s *steadyWriter) ReadFrom(r io.Reader) (int64, error) {
	buf := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{s}, r, buf[:])
}
