package files

import (
	"context"
	"errors"
	"sync"
	"time"

	"skua/internal/job"
)

var errBusy = errors.New("too many transfers")

// turnstile lets a bounded number of transfers through at a time. When one leaves, the next is the one
// whose user has the fewest under way, and of those the one that has waited longest: five hundred
// checkpoints of one user do not keep another's input waiting.
type turnstile struct {
	maxActive, maxWaiting int

	mu      sync.Mutex // guards what follows
	active  map[job.UserID]int
	total   int       // sum of active
	waiting []*waiter // in order of arrival
}

type waiter struct {
	user job.UserID
	turn chan struct{} // closed when the turn has come
}

func newTurnstile(maxActive, maxWaiting int) *turnstile {
	return &turnstile{maxActive: maxActive, maxWaiting: maxWaiting, active: map[job.UserID]int{}}
}

// enter waits for user's turn, at most for wait. The caller calls leave once when done.
func (t *turnstile) enter(ctx context.Context, user job.UserID, wait time.Duration) (leave func(), err error) {
	leave = sync.OnceFunc(func() { t.leave(user) })
	t.mu.Lock()
	if t.total < t.maxActive && len(t.waiting) == 0 {
		t.active[user]++
		t.total++
		t.mu.Unlock()
		return leave, nil
	}
	if len(t.waiting) >= t.maxWaiting {
		t.mu.Unlock()
		return nil, errBusy
	}
	me := &waiter{user, make(chan struct{})}
	t.waiting = append(t.waiting, me)
	t.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-me.turn:
		return leave, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = errBusy
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, w := range t.waiting {
		if w == me {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			return nil, err
		}
	}
	return leave, nil // the turn came at the same moment
}

func (t *turnstile) leave(user job.UserID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	if t.active[user]--; t.active[user] == 0 {
		delete(t.active, user)
	}
	if len(t.waiting) == 0 {
		return
	}
	next := 0
	for i, w := range t.waiting {
		if t.active[w.user] < t.active[t.waiting[next].user] {
			next = i
		}
	}
	w := t.waiting[next]
	t.waiting = append(t.waiting[:next], t.waiting[next+1:]...)
	t.active[w.user]++
	t.total++
	close(w.turn)
}
