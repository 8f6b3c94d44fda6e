package startd

import (
	"context"
	"time"

	"skua/internal/diag"
)

// coolAfter is how long a job stands still before the kernel is told that nobody uses its memory: longer than it takes to see
// that a desk was bumped.
const coolAfter = 3 * time.Second

// cool has the memory of a job that has stood still for a while be the first to go to the swap when the machine's owner wants
// memory. It is done once, unless the memory has been used since. The work's goroutine calls it.
//
// None of it is written to the swap for that, not even when programs wait for memory already: having the kernel do so
// (MADV_PAGEOUT) beside what it does of itself was seen to make an owner's program that wanted 450 MB wait two to five times as
// long, and to spare the owner little. Nor after the job has left: then its memory is free.
func (t *tenant) cool(ctx context.Context, in Init) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t.mu.Lock()
	since := t.still
	t.hurry = stop
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.hurry = nil
	}()
	now := time.Now()
	if len(t.leave) > 0 || since == t.cold || !since.IsZero() && now.Sub(since) < coolAfter {
		return // soon there is nothing to cool; or it has been; or it is too early
	}
	if t.cold = since; since.IsZero() {
		return
	}
	if err := in.Cool(ctx); err != nil {
		t.log.Debug("the memory of the job cannot be made to go first", diag.KeyError, err)
		return
	}
	t.log.Debug("memory of the job goes first", diag.KeyTook, time.Since(now))
}
