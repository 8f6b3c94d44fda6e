package files

import (
	"errors"
	"sync"
)

var (
	errFull     = errors.New("the disk is full")
	errPromised = errors.New("the room on the disk is promised to uploads under way")
)

// room is the disk above a floor. What has been promised to one upload is not there for another.
type room struct {
	free  func() (int64, error) // bytes of the disk
	floor int64                 // bytes; less than 0 means that all of the disk may be used

	mu       sync.Mutex
	promised int64 // guarded by mu: bytes that uploads under way have still to write
}

// promise is the room of one upload. The upload ends it.
type promise struct {
	room *room
	left int64
}

// promise promises n bytes. Its errors are errFull, and errPromised when there may be room later.
func (r *room) promise(n int64) (*promise, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.floor >= 0 {
		free, err := r.free()
		switch {
		case err != nil:
			return nil, err
		case free-n < r.floor:
			return nil, errFull
		case free-n-r.promised < r.floor:
			return nil, errPromised
		}
	}
	r.promised += n
	return &promise{r, n}, nil
}

// wrote says that n of the bytes are on the disk, where they are not free any more.
func (p *promise) wrote(n int64) {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	p.room.promised -= n
	p.left -= n
}

func (p *promise) end() { p.wrote(p.left) }
