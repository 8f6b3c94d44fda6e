package courier

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
)

// bag holds the jobs whose outputs are to be brought. It belongs to the courier's loop; only the errands
// themselves run beside it.
type bag struct {
	pool  Pool
	first time.Duration // pause after a failure; it doubles from there
	log   *slog.Logger

	ctx  context.Context // of the errands: ends with the courier
	stop context.CancelFunc
	wg   sync.WaitGroup
	done chan []delivery

	jobs   map[job.ID]*parcel
	ready  []job.ID // to be brought now
	later  []job.ID // failed, and to be tried again
	active int
	timer  *time.Timer // for those of later
}

// parcel is one job's outputs.
type parcel struct {
	over    bool // the job has ended; else they are of a run after which it goes on
	empty   bool // its end says that there are none: only the matchmaker is to be told
	active  bool // an errand is under way
	again   bool // the errand under way may have come too early
	tries   int
	next    time.Time // not before this
	trouble string
	sent    bool // brought, and the matchmaker knows: its event is due
}

// delivery is how an errand went.
type delivery struct {
	id   job.ID
	over bool // the job had ended when the errand began
	err  error
}

var (
	errGone   = errors.New("the matchmaker has nothing of the job")
	errUntold = errors.New("the outputs are in place, and the matchmaker knows of no job that has so ended")
)

const (
	maxErrands   = 4
	maxEmpty     = 1000 // of which the matchmaker is told at once
	maxReady     = 1000
	longestPause = 10 * time.Minute
	stuckAfter   = 4 // failures: then the courier does not stay for it
)

func newBag(ctx context.Context, cfg Config, log *slog.Logger) *bag {
	b := &bag{
		pool: cfg.Pool, first: cfg.Retry, log: log,
		done: make(chan []delivery), jobs: map[job.ID]*parcel{}, timer: time.NewTimer(time.Hour),
	}
	b.timer.Stop()
	b.ctx, b.stop = context.WithCancel(ctx)
	return b
}

// add puts a job into the bag that has new outputs. over says that it has ended.
func (b *bag) add(id job.ID, over bool) {
	p := b.jobs[id]
	if p == nil {
		p = &parcel{}
		b.jobs[id] = p
		b.ready = append(b.ready, id)
	}
	p.over = p.over || over
	p.tries, p.next = 0, time.Time{} // what was in the way may be over, too
	p.again = p.active               // one errand at a time, so that older outputs never come last
}

// end is add for a job that has ended, and says whether it has any outputs.
func (b *bag) end(id job.ID, empty bool) {
	b.add(id, true)
	b.jobs[id].empty = empty
}

// remove takes a job out. An errand for it that is under way comes to nothing.
func (b *bag) remove(id job.ID) { delete(b.jobs, id) }

// sent says whether a job's outputs are in place and the matchmaker has been told.
func (b *bag) sent(id job.ID) bool { return b.jobs[id] != nil && b.jobs[id].sent }

// start sets out for what can be brought now.
func (b *bag) start() {
	now := time.Now()
	var soonest time.Time
	b.later = slices.DeleteFunc(b.later, func(id job.ID) bool {
		p := b.jobs[id]
		switch {
		case p == nil:
			return true
		case !now.Before(p.next):
			b.ready = append(b.ready, id)
			return true
		case soonest.IsZero() || p.next.Before(soonest):
			soonest = p.next
		}
		return false
	})
	if !soonest.IsZero() {
		b.timer.Reset(soonest.Sub(now))
	}
	var empty []job.ID
	for b.active < maxErrands && len(b.ready) > 0 {
		id := b.ready[0]
		b.ready = b.ready[1:]
		p := b.jobs[id]
		if p == nil || p.sent || p.active {
			continue
		}
		p.active = true
		if p.over && p.empty {
			if empty = append(empty, id); len(empty) == maxEmpty {
				break
			}
			continue
		}
		over := p.over
		b.send(func() []delivery { return []delivery{{id, over, b.bring(id, over)}} })
	}
	if len(empty) > 0 {
		b.send(func() []delivery { return b.tell(empty) })
	}
}

// send has an errand run beside the courier's loop.
func (b *bag) send(errand func() []delivery) {
	b.active++
	b.wg.Go(func() {
		done := errand()
		select {
		case b.done <- done:
		case <-b.ctx.Done():
		}
	})
}

// bring puts a job's outputs into place and then, if the job has ended, tells the matchmaker.
func (b *bag) bring(id job.ID, over bool) error {
	files, err := b.pool.Fetch(b.ctx, id, "", nil)
	switch {
	case errors.Is(err, client.ErrNoOutputs) && over:
		return errGone
	case errors.Is(err, client.ErrNoOutputs):
		b.log.Debug("outputs of a run are not kept any more", diag.KeyJob, id)
		return nil
	case err != nil:
		return err
	case !over:
		b.log.Info("outputs of a run are in place", diag.KeyJob, id, "files", len(files))
		return nil
	}
	if err = b.tell([]job.ID{id})[0].err; err == nil {
		b.log.Info("outputs are in place", diag.KeyJob, id, "files", len(files))
	}
	return err
}

// tell tells the matchmaker that the outputs of jobs that have ended are in place.
func (b *bag) tell(ids []job.ID) []delivery {
	res, err := b.pool.Act(b.ctx, wire.Deliver, wire.Selection{Jobs: ids}, "")
	all := make([]delivery, len(ids))
	for i, id := range ids {
		all[i] = delivery{id, true, err}
		if err == nil && res.Not[id.String()] != "" {
			all[i].err = errUntold
		}
	}
	return all
}

// back takes note that an errand has come to its end; what came of it is to be settled, and then there may be others to start.
func (b *bag) back() { b.active-- }

// settle takes the result of an errand for a job. It says whether a job that goes on has nothing more to bring for now.
func (b *bag) settle(d delivery) (empty bool) {
	p := b.jobs[d.id]
	if p != nil {
		p.active = false
	}
	switch {
	case p == nil:
	case d.err == nil && p.again:
		p.again, p.tries, p.trouble = false, 0, ""
		b.ready = append(b.ready, d.id)
	case d.err == nil && d.over:
		p.sent = true
	case d.err == nil:
		delete(b.jobs, d.id)
		empty = true
	default:
		p.again = false
		if text := d.err.Error(); text != p.trouble {
			p.trouble = text
			b.log.Warn("outputs cannot be put in place; it is tried again", diag.KeyJob, d.id, diag.KeyError, d.err)
		}
		p.next = time.Now().Add(min(b.first<<min(p.tries, 20), longestPause))
		p.tries++
		b.later = append(b.later, d.id)
	}
	return empty
}

// full says whether there is enough to do for the time being.
func (b *bag) full() bool { return len(b.ready) >= maxReady }

// busy says whether something can be expected to be brought soon.
func (b *bag) busy() bool {
	for _, p := range b.jobs {
		if p.tries < stuckAfter {
			return true
		}
	}
	return b.active > 0
}

func (b *bag) close() {
	b.stop()
	b.timer.Stop()
	b.wg.Wait()
}
