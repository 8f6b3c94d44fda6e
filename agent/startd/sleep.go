package startd

import (
	"time"

	"skua/agent/probe"
	"skua/agent/slot"
	"skua/internal/diag"
	"skua/internal/job"
)

// sleepWait is how long a sleep of the machine may be held up until the jobs stand still. The system waits
// for five seconds, as it usually comes.
const sleepWait = 3 * time.Second

// reconnectWait is how long what else is to be done on waking waits for the connection that is given up. It is at once,
// unless a dial is under way.
const reconnectWait = time.Second

// sleep freezes what runs before the machine goes to sleep, and returns when it stands still or there
// is no more time. Awake again, the agent connects anew, and a job goes on if its lease still holds; before that, whoever woke the
// machine has as much time to touch it again as after any first touch.
func (d *Daemon) sleep(begins bool) {
	event := func(at time.Time, _ job.Instant) slot.Event { return slot.SleepBegins{At: at} }
	if !begins {
		d.log.Info("the machine is awake again")
		d.touched(probe.Active{At: time.Now(), Source: "wake-up"})
		d.reconnect() // before anything is asked over the old connection
		event = func(at time.Time, now job.Instant) slot.Event { return slot.SleepEnds{At: at, Now: now} }
	}
	over := time.After(sleepWait)
	for _, k := range d.keepers {
		k.post(event)
	}
	for _, k := range d.keepers {
		done := make(chan struct{})
		k.post(func(at time.Time, now job.Instant) slot.Event {
			close(done) // its turn comes when the event before it has been carried out
			return slot.Tick{At: at, Now: now}
		})
		select {
		case <-done:
		case <-k.closed:
		case <-over:
			d.log.Warn("the machine goes to sleep before its jobs are known to stand still")
			return
		}
	}
	if begins {
		d.log.Info("the machine goes to sleep, its jobs stand still")
	}
}

// reconnect has the connection made anew, and returns when the old one is given up or has had its time.
func (d *Daemon) reconnect() {
	done := make(chan struct{})
	d.waking.Go(func() {
		defer close(done)
		if err := d.cfg.Bus.ForceReconnect(); err != nil {
			d.log.Debug("the connection that has slept is kept", diag.KeyError, err)
		}
	})
	select {
	case <-done:
	case <-time.After(reconnectWait):
	}
}
