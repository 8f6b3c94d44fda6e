package server

import (
	"context"
	"slices"
	"sync"
)

// maxRepeats is how many answers are kept. A message that comes again does so within seconds.
const maxRepeats = 256

// repeats has what users ask for done once, though the message may come twice: a hold that comes again after
// the job was released would hold it again, and a submit that is refused while the one before it is still being
// logged would be both refused and queued. The zero value is ready.
type repeats[A any] struct {
	anew bool // no error is kept: whoever asks again after it is judged anew

	mu    sync.Mutex // guards what follows
	known map[string]*answered[A]
	order []string // the oldest first
}

type answered[A any] struct {
	done   chan struct{} // closed when there is an answer
	result A
	err    error
}

// once does what was asked under a name, or waits for the answer of the one who does. An answer that is [passing] is
// not kept. A matchmaker that was started since knows nothing of it.
func (r *repeats[A]) once(ctx context.Context, name string, do func() (A, error)) (A, error) {
	r.mu.Lock()
	a, again := r.known[name]
	if !again {
		a = &answered[A]{done: make(chan struct{})}
		if r.known == nil {
			r.known = map[string]*answered[A]{}
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
		if a.err != nil && (r.anew || passing(a.err)) {
			r.forget(name, a)
		}
		close(a.done)
		return a.result, a.err
	}
	select {
	case <-a.done:
		return a.result, a.err
	case <-ctx.Done():
		var none A
		return none, ctx.Err()
	}
}

func (r *repeats[A]) forget(name string, a *answered[A]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[name] != a {
		return // there was no room for it, and another one has come since
	}
	delete(r.known, name)
	r.order = slices.DeleteFunc(r.order, func(n string) bool { return n == name })
}
