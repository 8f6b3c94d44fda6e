package x11

import (
	"context"
	"time"
)

// PollEvery is how often a server that cannot push is asked.
const PollEvery = 250 * time.Millisecond

// Input is what a server tells about the input on its display.
type Input struct {
	Busy bool          // input within the last quiet time; its end will be told
	Idle time.Duration // how long there has been none, unless Busy
}

// Follow tells how the display is now, and then of every first input after a quiet time and of every
// quiet time that begins, until the connection fails or ctx ends. With [ErrNoIdleTime] the connection
// is still good for [Conn.Poll].
func (x *Conn) Follow(ctx context.Context, quiet time.Duration, tell func(Input)) error {
	defer context.AfterFunc(ctx, func() { x.Close() })()
	alarms, idle, err := newIdleAlarms(x, quiet)
	if err != nil {
		return err
	}
	tell(Input{Busy: idle < quiet, Idle: idle})
	for {
		back, idle, err := alarms.wait(ctx)
		if err != nil {
			return err
		}
		tell(Input{Busy: back, Idle: idle})
	}
}

// Poll is Follow for a server that cannot push.
func (x *Conn) Poll(ctx context.Context, quiet time.Duration, tell func(Input)) error {
	defer context.AfterFunc(ctx, func() { x.Close() })()
	saver, err := newScreenSaver(x)
	if err != nil {
		return err
	}
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	first, busy := true, false
	asked := time.Now()
	for {
		before := asked
		asked = time.Now()
		idle, err := saver.idle()
		if err != nil {
			return err
		}
		recent := idle < max(quiet, time.Since(before)) // no press is missed because this process had to wait
		if first || recent != busy {
			tell(Input{Busy: recent, Idle: idle})
		}
		first, busy = false, recent
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
