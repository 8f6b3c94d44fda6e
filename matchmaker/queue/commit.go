package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// Bounds of one append.
const (
	maxBatch      = bus.MaxBatch
	maxBatchBytes = 4 << 20
	maxRecord     = wire.MaxMessage - 32<<10 // without its sum; so that an event also fits into an answer about it
)

// request is a caller's wish to append events, all or none. What is below done belongs to the committer
// until done is closed.
type request struct {
	bodies []job.Body
	table  *job.Table // of a submit whose event names one

	inOrder bool // the first ones may be in the log without the others

	done    chan struct{}
	err     error
	receipt Receipt // of a submit

	cluster *job.Cluster // of a submit that is new
	records [][]byte     // the events as logged
	chain   chain        // after them
	events  []job.Event
}

// most is how many events the request may become: the first jobs of a cluster can enter with an event of their own.
func (r *request) most() int {
	if s, ok := r.bodies[0].(*job.Submitted); ok && s.Late().Limits() {
		return 2
	}
	return len(r.bodies)
}

func (r *request) finish(err error) {
	r.err = err
	close(r.done)
}

// committer appends requests in batches. It belongs to one goroutine.
type committer struct {
	q       *Queue
	carry   *request // gathered, but too large for the batch before
	archive archivist
}

func (c *committer) run(ctx context.Context) error {
	c.archive.q = c.q
	for {
		batch, err := c.gather(ctx)
		if err != nil {
			return err
		}
		if err := c.commit(ctx, batch); err != nil {
			for _, r := range batch {
				r.finish(err)
			}
			return err
		}
		for _, r := range batch {
			close(r.done)
		}
		c.archive.copy(ctx, batch) // after those who wait have been told
		c.q.recordDone()
	}
}

// gather takes what is waiting, at least one request.
func (c *committer) gather(ctx context.Context) ([]*request, error) {
	var batch []*request
	if c.carry != nil {
		batch, c.carry = append(batch, c.carry), nil
	}
	for len(batch) == 0 {
		select {
		case r := <-c.q.requests:
			batch = append(batch, r)
		case <-c.archive.due():
			c.archive.follow(ctx)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for n := batch[0].most(); ; {
		select {
		case r := <-c.q.requests:
			if n += r.most(); n > maxBatch {
				c.carry = r
				return batch, nil
			}
			batch = append(batch, r)
		default:
			return batch, nil
		}
	}
}

// commit checks the requests one after another, each against the state that those before it lead to,
// and appends what is good. A request that is not has its error set. The returned error ends the
// committer.
func (c *committer) commit(ctx context.Context, batch []*request) error {
	next := newDraft(c.q)
	now := time.Now().UTC().Round(0) // as it will be read back: no zone, no monotonic part
	for len(batch) > 0 {
		var records [][]byte
		var bytes, taken int
		inOrder := true
		for _, r := range batch {
			if taken > 0 && bytes+maxRecord*r.most() > maxBatchBytes {
				break // it might not fit: the next append takes it
			}
			taken++
			if r.err = next.take(r, now); r.err != nil {
				continue
			}
			for _, rec := range r.records {
				bytes += len(rec)
			}
			records = append(records, r.records...)
			inOrder = inOrder && (r.inOrder || len(r.records) == 1)
		}
		now := batch[:taken]
		batch = batch[taken:]
		if len(records) == 0 {
			continue
		}
		refused, err := c.append(ctx, records, inOrder)
		if err != nil {
			return err
		}
		if refused != nil {
			// Nothing of it was added, so nothing that follows on it can be either.
			for _, r := range append(now, batch...) {
				if r.err == nil {
					r.err = refused
				}
			}
			return nil
		}
		if err := c.q.advance(now); err != nil {
			return err
		}
	}
	return nil
}

// append adds records to the log. A definite refusal is returned as refused; err ends the committer.
func (c *committer) append(ctx context.Context, records [][]byte, inOrder bool) (refused, err error) {
	expect := c.q.state.seq
	add := c.q.cfg.Log.Append
	if inOrder {
		add = c.q.cfg.Log.AppendInOrder
	}
	_, err = add(ctx, expect, records)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, bus.ErrWrongSequence):
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	case !errors.Is(err, bus.ErrUnknownOutcome):
		c.q.log.Warn("queue log refuses events", "events", len(records), diag.KeyError, err)
		if errors.Is(err, bus.ErrNoResponder) || errors.Is(err, bus.ErrDisconnected) {
			err = fmt.Errorf("%w: %w", ErrAway, err) // such as when the servers that keep it choose which one leads
		}
		return &diag.Problem{
			What: "the matchmaker cannot write its queue log",
			Hint: "its administrator finds the reason in the matchmaker's log",
			Err:  err,
		}, nil
	}
	c.q.log.Warn("outcome of an append is not known, reading the log's end", diag.KeySeq, expect, diag.KeyError, err)
	return nil, c.settle(ctx, expect, records)
}

// settle finds out what became of an append, and finishes it. Sending the records again is safe: they
// name the sequence they follow on, so that they are added once whatever becomes of the first try.
func (c *committer) settle(ctx context.Context, expect uint64, records [][]byte) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		n, err := c.compare(ctx, expect, records)
		switch {
		case errors.Is(err, ErrStale):
			return err
		case err == nil && n == len(records):
			return nil
		case err == nil:
			_, err = c.q.cfg.Log.Append(ctx, expect+uint64(n), records[n:])
			if err == nil {
				return nil
			}
			// ErrWrongSequence may mean that the first try has arrived after all: compare again.
		}
		c.q.log.Warn("queue log not settled yet", diag.KeySeq, expect, diag.KeyError, err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// compare counts how many of the records the log has after expect. If it has others in their place it is ErrStale;
// what follows on all of them does not matter here: the next append meets it.
func (c *committer) compare(ctx context.Context, expect uint64, records [][]byte) (n int, err error) {
	all := errors.New("all of them")
	err = c.q.cfg.Log.Read(ctx, expect+1, func(seq uint64, data []byte) error {
		if !bytes.Equal(data, records[n]) {
			return fmt.Errorf("%w: event %d is not ours", ErrStale, seq)
		}
		if n++; n == len(records) {
			return all
		}
		return nil
	})
	if err == all {
		err = nil
	}
	return n, err
}

// advance applies what has been logged and wakes those who wait for it.
func (q *Queue) advance(batch []*request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range batch {
		if r.err != nil {
			continue
		}
		for i, ev := range r.events {
			var err error
			if i == 0 && r.cluster != nil {
				err = q.state.add(ev, r.cluster)
			} else {
				err = q.state.apply(ev)
			}
			if err != nil {
				// The draft accepted it: this is a mistake of ours, and memory is not the log's any more.
				return fmt.Errorf("queue: event %d is logged but does not fit: %w", ev.Seq, err)
			}
			q.recent.add(ev, len(r.records[i]), q.state.userOf(ev))
		}
		if len(r.events) > 0 {
			q.state.chain = r.chain
		}
	}
	close(q.grown)
	q.grown = make(chan struct{})
	return nil
}
