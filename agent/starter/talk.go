//go:build linux || windows

package starter

import (
	"context"
	"fmt"
	"time"

	"skua/agent/checkpoint"
	"skua/internal/diag"
)

// ask sends a request that is answered soon.
func (i *Init) ask(limit time.Duration, m *message) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := i.call(ctx, m)
	return err
}

// call sends a request and waits for its answer, at most as long as ctx allows; the init gets the
// same deadline.
func (i *Init) call(ctx context.Context, m *message) (*message, error) {
	m.TimeoutMS = checkpoint.DefaultTimeout.Milliseconds()
	if d, ok := ctx.Deadline(); ok {
		m.TimeoutMS = max(1, time.Until(d).Milliseconds())
	}
	answer := make(chan *message, 1)
	i.mu.Lock()
	i.lastID++
	m.ID = i.lastID
	i.waiting[m.ID] = answer
	i.mu.Unlock()
	select {
	case i.asked <- struct{}{}:
	default:
	}
	defer func() {
		i.mu.Lock()
		delete(i.waiting, m.ID)
		i.mu.Unlock()
	}()
	i.send(m)
	select {
	case a := <-answer:
		return a, a.failure()
	case <-i.lost:
		select {
		case a := <-answer: // it came with the last bytes
			return a, a.failure()
		default:
			return nil, ErrGone
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer from the claim's init: %w", context.Cause(ctx))
	}
}

// send writes one message.
func (i *Init) send(m *message) { i.write(func() *message { return m }) }

// sendBeat tells the init that we are there, and whether its job is to be frozen. Our wish is read once nobody else
// writes: a thaw that comes meanwhile has its message after this one, and is not undone by it.
func (i *Init) sendBeat() (frozen, settled bool) {
	i.write(func() *message {
		frozen, settled = i.settled()
		return &message{Op: opBeat, Frozen: frozen}
	})
	return frozen, settled
}

// write writes the message that is made when it is its turn. An init that does not read has its connection ended;
// whoever waits for an answer learns that from lost.
func (i *Init) write(turn func() *message) {
	i.mu.Lock()
	c := i.conn
	i.mu.Unlock()
	if c == nil {
		return
	}
	i.writing.Lock()
	defer i.writing.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(Silence))
	if err := writeMessage(c, turn()); err != nil {
		c.Close()
	}
}

// beat tells the init that we are there, until the connection ends: seldom while its job stands still because we want it to,
// so that whoever has come to the machine has all of it. That job does not run on if we die, and whatever the init is
// asked for tells it that we live.
func (i *Init) beat() {
	t := time.NewTimer(beatEvery)
	defer t.Stop()
	seldom := false
	for {
		select {
		case <-i.stop:
			return
		case <-i.lost:
			return
		case <-i.asked:
			if !seldom {
				continue
			}
			seldom = false
			t.Reset(beatEvery)
		case <-t.C:
			frozen, settled := i.sendBeat()
			seldom = frozen && settled
			if seldom {
				t.Reset(beatSeldom)
			} else {
				t.Reset(beatEvery)
			}
		}
	}
}

// settled says whether the job is to be frozen, and whether the init has answered all that it was asked for: what it does
// meanwhile, such as to start a job, may have begun with another wish of ours.
func (i *Init) settled() (frozen, settled bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wish, len(i.waiting) == 0
}

// read hands out what the init says, and finds out why when it stops talking.
func (i *Init) read() {
	defer close(i.lost)
	for {
		m, err := readMessage(i.conn)
		if err != nil {
			i.mourn(err)
			return
		}
		if m.Op == opExit && m.Exit != nil {
			i.finish(m.Exit)
			continue
		}
		i.mu.Lock()
		if c := i.waiting[m.ID]; c != nil {
			delete(i.waiting, m.ID)
			c <- m // has room for the one answer
		}
		i.mu.Unlock()
	}
}

// mourn ends the job's life as far as we are concerned: its init does not talk to us any more.
func (i *Init) mourn(why error) {
	i.mu.Lock()
	closed, id := i.closed, i.job
	i.mu.Unlock()
	switch {
	case closed:
	case i.dead():
		if e, err := readExit(i.s.dir(i.claim)); err == nil && e.Job == id {
			i.finish(e) // the news was on its way when the init died
			return
		}
		i.finish(&Exit{Job: id, Err: "the claim was killed with its job"})
	default:
		i.s.log.Warn("lost the connection to a claim's init", diag.KeyClaim, i.claim, diag.KeyError, why)
		i.finish(&Exit{Job: id, Err: "the connection to the claim's init was lost"})
	}
}
