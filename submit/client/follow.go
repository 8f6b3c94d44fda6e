package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/pause"
	"skua/internal/wire"
)

// Page is a part of a user's events.
type Page struct {
	Events []job.Event // in the order in which they happened
	Next   uint64      // all events up to this one have been seen
	More   bool        // there are more already
}

// Events gives the user's events after the one numbered since, as many as fit in one answer.
func (c *Client) Events(ctx context.Context, since uint64) (Page, error) {
	res, err := c.query(ctx, wire.Query{Kind: wire.QueryEvents, Since: since})
	if err != nil {
		return Page{}, err
	}
	p := Page{Next: since, More: res.More}
	for _, raw := range res.Rows {
		var ev job.Event
		if err := json.Unmarshal(raw, &ev); err != nil {
			return Page{}, &diag.Problem{
				What: fmt.Sprintf("read the events after %d: %v", since, err),
				Hint: "the matchmaker may be of a newer version than this program: upgrade it", Err: errors.Join(ErrUnreadable, err),
			}
		}
		if ev.Seq <= p.Next {
			return Page{}, fmt.Errorf("read the events after %d: number %d comes where a later one is due", p.Next, ev.Seq)
		}
		p.Events = append(p.Events, ev)
		p.Next = ev.Seq
	}
	if res.Next != "" {
		next, err := strconv.ParseUint(res.Next, 10, 64)
		if err != nil {
			return Page{}, fmt.Errorf("read the events after %d: %q is not a sequence number", since, res.Next)
		}
		p.Next = max(p.Next, next)
	}
	if p.More && p.Next == since {
		return Page{}, fmt.Errorf("read the events after %d: the matchmaker gives no end", since)
	}
	return p, nil
}

// Now gives the number of the latest event that the user may have been told of: what happens next has a later one.
func (c *Client) Now(ctx context.Context) (uint64, error) {
	_, seq, err := c.Jobs(ctx, noJobs)
	return seq, err
}

// Follow calls handle with the user's events after since as they happen, in order and without a gap,
// until ctx ends, handle gives an error, which it returns, or an event comes that is [ErrUnreadable]. It is told by the
// matchmaker when there is something to ask for; since such a note may be lost, it asks now and then without one. While
// the matchmaker cannot be reached it waits.
func (c *Client) Follow(ctx context.Context, since uint64, handle func(Page) error) error {
	noted := make(chan struct{}, 1)
	sub, err := c.cfg.Conn.Subscribe(wire.NoteSubject(c.cfg.User), func(bus.Msg) {
		select {
		case noted <- struct{}{}:
		default: // one is enough
		}
	})
	if err != nil {
		return fmt.Errorf("follow events: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // of a connection that may be gone
	var told string
	var pace pace
	for {
		page, err := c.Events(ctx, since)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrUnreadable):
			return err // it would stay so
		case err != nil:
			if err.Error() != told && c.cfg.Trouble != nil {
				c.cfg.Trouble(err)
			}
			told = err.Error()
		default:
			told = ""
			if len(page.Events) > 0 || page.Next > since {
				if err := handle(page); err != nil {
					return err
				}
				since = page.Next
			}
			if page.More {
				continue
			}
		}
		if err := c.waitForNote(ctx, noted); err != nil {
			return err
		}
		if d := pace.next(time.Now()); d > 0 {
			if err := pause.For(ctx, d); err != nil {
				return err
			}
			select {
			case <-noted: // what it is about will be among the rest
			default:
			}
		}
	}
}

// pace lets some questions through at once, and then one in every askEvery: while much happens, what happens meanwhile
// is asked for together.
type pace struct{ full time.Time } // when as many as possible may be asked at once again

const (
	askAtOnce = 8
	askEvery  = 50 * time.Millisecond
)

// next says how long the next question is to wait.
func (p *pace) next(now time.Time) time.Duration {
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(askEvery)
	return max(0, p.full.Sub(now)-askAtOnce*askEvery)
}

func (c *Client) waitForNote(ctx context.Context, noted <-chan struct{}) error {
	t := time.NewTimer(c.cfg.Poll)
	defer t.Stop()
	select {
	case <-noted:
	case <-c.cfg.Conn.Reconnected():
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// ErrUnreadable says that this program does not know an event, and so none of those after it.
var ErrUnreadable = errors.New("an event of another version")

// ErrEnough ends a Follow whose handler has seen what it was waiting for.
var ErrEnough = errors.New("seen enough")
