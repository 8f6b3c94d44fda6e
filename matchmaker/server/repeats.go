package server

import (
	"context"
	"sync"

	"skua/internal/wire"
)

// maxRepeats is how many answers are kept. A message that comes again does so within seconds.
const maxRepeats = 256

// repeats has what users ask for done once, though the message may come twice: a hold that comes again after
// the job was released would hold it again. The zero value is ready.
type repeats struct {
	mu    sync.Mutex // guards what follows
	known map[string]*answered
	order []string // the oldest first
}

type answered struct {
	done   chan struct{} // closed when there is an answer
	result wire.ActionResult
	err    error
}

// once does what was asked under a name, or waits for the answer of the one who does. A matchmaker that was started
// since knows nothing of it.
func (r *repeats) once(ctx context.Context, name string, do func() (wire.ActionResult, error)) (wire.ActionResult, error) {
	r.mu.Lock()
	a, again := r.known[name]
	if !again {
		a = &answered{done: make(chan struct{})}
		if r.known == nil {
			r.known = map[string]*answered{}
		}
		r.known[name] = a
		if r.order = append(r.order, name); len(r.order) > maxRepeats {
			delete(r.known, r.order[0])
			r.order = r.order[1:]
		}
	}
	r.mu.Unlock()
	if !again {
		a.result, a.err = do()
		close(a.done)
		return a.result, a.err
	}
	select {
	case <-a.done:
		return a.result, a.err
	case <-ctx.Done():
		return wire.ActionResult{}, ctx.Err()
	}
}
