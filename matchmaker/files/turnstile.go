package files

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"skua/internal/job"
)

var errBusy = errors.New("too many transfers")

// turnstile lets a bounded number of transfers through at a time, in one direction. When one leaves, the next is
//
//   - of the user who has the fewest bytes under way: five hundred checkpoints of one user do not keep another's
//     input waiting;
//   - of those, a small one: it takes next to nothing, and ends what a job has sent before;
//   - of those, one of the job that began first. An image is sent in many transfers. If all that are on their way
//     took turns, all would come to their end at the end, and those whose machines have no more time, or fail, would
//     have come to nothing; so they come to it one after another;
//   - of those, the one that has waited longest.
//
// No user has all places, however many want them: who holds on to theirs does not keep the others out.
type turnstile struct {
	maxActive, maxWaiting int

	mu      sync.Mutex // guards what follows
	active  map[job.UserID]load
	total   int // transfers under way
	waiting []*waiter
	begun   map[work]*began
	tidyAt  int // how many of those there are when it is time to forget some
}

// transfer is what wants to pass.
type transfer struct {
	user  job.UserID
	job   job.ID // zero for a user's own
	bytes int64  // about as many
}

const (
	smallTransfer = 64 << 10    // bytes; what is less counts as so much
	pausedFor     = time.Minute // that a job may send nothing and keep its place
	manyWorks     = 4096        // jobs from which on those are forgotten that have no place to keep
)

// load is what a user has under way.
type load struct {
	transfers int
	bytes     int64
}

// work is what several transfers are part of.
type work struct {
	user job.UserID
	job  job.ID
}

// began says when the work of a job did.
type began struct {
	first, last time.Time
	under       int // transfers that wait or are under way
}

type waiter struct {
	transfer
	came  time.Time
	first time.Time
	turn  chan struct{} // closed when the turn has come
	full  chan struct{} // closed when it is sent away for one that comes before it
}

func newTurnstile(maxActive, maxWaiting int) *turnstile {
	return &turnstile{maxActive: maxActive, maxWaiting: maxWaiting, active: map[job.UserID]load{}, begun: map[work]*began{}, tidyAt: manyWorks}
}

// enter waits for the turn of a transfer, at most for wait. The caller calls leave once when done.
func (t *turnstile) enter(ctx context.Context, tr transfer, wait time.Duration) (leave func(), err error) {
	tr.bytes = max(tr.bytes, smallTransfer)
	leave = sync.OnceFunc(func() { t.leave(tr) })
	t.mu.Lock()
	me := &waiter{transfer: tr, came: time.Now(), turn: make(chan struct{}), full: make(chan struct{})}
	me.first = t.arrive(tr, me.came)
	switch {
	case t.mayEnter(me): // then nobody waits who may enter, too
		t.admit(me)
		t.mu.Unlock()
		return leave, nil
	case len(t.waiting) >= t.maxWaiting && !t.makeRoom(me):
		t.depart(tr, me.came)
		t.mu.Unlock()
		return nil, errBusy
	}
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
	case <-me.full:
		return nil, errBusy
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch i := slices.Index(t.waiting, me); {
	case i >= 0:
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.depart(tr, time.Now())
		return nil, err
	case isClosed(me.full):
		return nil, errBusy
	}
	return leave, nil // the turn came at the same moment
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// compare is negative for one that comes before the other.
func (t *turnstile) compare(a, b *waiter) int {
	small := func(w *waiter) int {
		if w.bytes <= smallTransfer {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(t.active[a.user].bytes, t.active[b.user].bytes),
		cmp.Compare(small(a), small(b)),
		a.first.Compare(b.first),
		a.came.Compare(b.came),
	)
}

// makeRoom sends the last of those that wait away, if w comes before it.
func (t *turnstile) makeRoom(w *waiter) bool {
	if len(t.waiting) == 0 {
		return false
	}
	last := slices.MaxFunc(t.waiting, t.compare)
	if t.compare(w, last) >= 0 {
		return false
	}
	t.waiting = slices.DeleteFunc(t.waiting, func(o *waiter) bool { return o == last })
	t.depart(last.transfer, w.came)
	close(last.full)
	return true
}

// mayEnter says that there is a place, also for this user: three quarters of them are the most that one has.
func (t *turnstile) mayEnter(w *waiter) bool {
	return t.total < t.maxActive && t.active[w.user].transfers < t.maxActive-t.maxActive/4
}

func (t *turnstile) admit(w *waiter) {
	l := t.active[w.user]
	t.active[w.user] = load{l.transfers + 1, l.bytes + w.bytes}
	t.total++
	close(w.turn)
}

func (t *turnstile) leave(tr transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	l := t.active[tr.user]
	if l = (load{l.transfers - 1, l.bytes - tr.bytes}); l.transfers > 0 {
		t.active[tr.user] = l
	} else {
		delete(t.active, tr.user)
	}
	t.depart(tr, time.Now())
	var next *waiter
	for _, w := range t.waiting {
		if t.mayEnter(w) && (next == nil || t.compare(w, next) < 0) {
			next = w
		}
	}
	if next == nil {
		return
	}
	t.waiting = slices.DeleteFunc(t.waiting, func(o *waiter) bool { return o == next })
	t.admit(next)
}

// arrive notes that a transfer of a job is there, and tells when the job's first was.
func (t *turnstile) arrive(tr transfer, now time.Time) (first time.Time) {
	if tr.job == (job.ID{}) {
		return now
	}
	w := work{tr.user, tr.job}
	b := t.begun[w]
	if b == nil || b.under == 0 && now.Sub(b.last) > pausedFor {
		if len(t.begun) >= t.tidyAt {
			t.forget(now)
			t.tidyAt = max(manyWorks, 2*len(t.begun))
		}
		b = &began{first: now}
		t.begun[w] = b
	}
	b.under++
	return b.first
}

// depart notes that it is gone.
func (t *turnstile) depart(tr transfer, now time.Time) {
	if b := t.begun[work{tr.user, tr.job}]; b != nil {
		b.under--
		b.last = now
	}
}

// forget forgets the jobs that have no place to keep any more.
func (t *turnstile) forget(now time.Time) {
	for w, b := range t.begun {
		if b.under == 0 && now.Sub(b.last) > pausedFor {
			delete(t.begun, w)
		}
	}
}
