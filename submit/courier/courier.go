// Package courier is the submit side's background process: it writes the event logs of the user's jobs
// and brings their outputs to where the user wants them.
//
// A courier is responsible for the jobs that were submitted from its host, and is their logs' only
// writer. It follows the user's events by sequence number. Three things are durable, in this order: the
// logs, how far each of them is, and how far the courier is; so a courier that dies anywhere begins
// again a little earlier, and what it does twice changes nothing. That a job has terminated stands in its
// log only once its outputs are in place, because scripts wait for the one and read the other; or when they are not to be had
// any more, which then stands there before it.
//
// What cannot be written or put anywhere is said in the courier's own log, kept, and tried again; it does
// not hold up anything else.
package courier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/submit/client"
)

// Pool is the matchmaker as a courier needs it; a *client.Client is one.
type Pool interface {
	Columns(ctx context.Context, kind wire.QueryKind, sel wire.Selection, exprs []string, limit int, row func(values []string) error) error
	Table(ctx context.Context, ref *job.TableRef) (*job.Table, error)
	Events(ctx context.Context, since uint64) (client.Page, error)
	Follow(ctx context.Context, since uint64, handle func(client.Page) error) error
	Fetch(ctx context.Context, id job.ID, dir string, progress transfer.Progress) ([]string, error)
	Act(ctx context.Context, do wire.ActionVerb, sel wire.Selection, reason string, set ...job.Assigned) (wire.ActionResult, error)
}

// Config is what a Courier is made of. Fields marked required have no default.
type Config struct {
	Pool   Pool                 // required
	Host   string               // required: see client.SubmitHost
	Dir    string               // required: where the courier keeps its position, one directory for each pool
	Linger time.Duration        // how long to stay when there is nothing to do; 0 means 3 minutes
	Retry  time.Duration        // the first pause before something that failed is tried again; 0 means 5 s
	Mail   func() (Mail, error) // how the user gets mail, asked before each; nil means that none is sent

	Zone *time.Location // of the dates in logs and mails; nil means the local one
	Log  *slog.Logger   // nil means no logging
}

// Courier serves one user on one host. There must be one at a time: see [Serve].
type Courier struct {
	cfg   Config
	log   *slog.Logger
	state *state
	logs  *logs
	bag   *bag
	post  *post

	known known

	nextSave time.Time
	trouble  string // why the position could not be kept, as it was last said
}

// New makes a Courier. It starts nothing.
func New(cfg Config) (*Courier, error) {
	if cfg.Pool == nil || cfg.Host == "" || cfg.Dir == "" {
		return nil, errors.New("courier: incomplete configuration")
	}
	if cfg.Linger == 0 {
		cfg.Linger = 3 * time.Minute
	}
	if cfg.Retry == 0 {
		cfg.Retry = 5 * time.Second
	}
	if cfg.Zone == nil {
		cfg.Zone = time.Local
	}
	c := &Courier{cfg: cfg, log: cfg.Log, known: known{
		jobs: map[job.ID]*origin{}, foreign: map[int]bool{}, fresh: map[int]*job.Cluster{},
	}}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Run works until there has been nothing to do for a while, which is no error, or until ctx ends. When it
// returns, every goroutine it started has ended. What could not be put anywhere does not keep it when
// nothing else is left; left says that there is such, for the next courier to try again.
func (c *Courier) Run(ctx context.Context) (left bool, err error) {
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return false, fmt.Errorf("make the courier's directory: %w", err)
	}
	if c.state, err = loadState(c.cfg.Dir); err != nil {
		return false, err
	}
	if c.logs, err = openLogs(c.cfg.Dir, c.state.Waiting, c.state.Anew, c.log); err != nil {
		return false, err
	}
	defer c.logs.close()
	if err := c.findLive(ctx); err != nil {
		return false, err
	}

	for _, l := range c.state.Late {
		c.logs.use(l.Log)
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.bag = newBag(ctx, c.cfg, c.log)
	defer c.bag.close()
	c.post = newPost(ctx, c.cfg, c.log)
	defer c.post.close()
	if len(c.state.Letters) > 0 {
		if _, ok := c.post.settings(); !ok {
			c.state.Letters = nil // there was a command once
		}
	}
	if c.logs.waiting() {
		c.save() // which tries them
	}
	for id, r := range c.state.Runs {
		if r.End != nil || r.Bring {
			c.bag.add(id, r.End != nil)
		}
	}
	pages, handled := make(chan client.Page), make(chan error, 1)
	var following sync.WaitGroup
	following.Go(func() {
		err := c.cfg.Pool.Follow(ctx, c.state.Pos, func(p client.Page) error {
			select {
			case pages <- p:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			select {
			case err := <-handled:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		stop(err)
	})
	defer following.Wait()
	defer stop(nil)
	c.bag.start()
	c.post.start(c.state.Letters)
	err = c.loop(ctx, pages, handled)
	return len(c.bag.jobs) > 0 || c.logs.waiting() || len(c.state.Letters) > 0, err
}

func (c *Courier) loop(ctx context.Context, pages <-chan client.Page, handled chan<- error) error {
	linger := time.NewTimer(c.cfg.Linger)
	defer linger.Stop()
	for {
		quiet := linger.C
		if c.busy() {
			linger.Reset(c.cfg.Linger) // it begins when this is over
			quiet = nil
		}
		next := pages
		if c.bag.full() || c.logs.full() {
			next = nil // first things first: what is kept here is bounded
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p := <-next:
			if err := c.take(ctx, p); err != nil {
				return err
			}
			handled <- nil
		case done := <-c.bag.done:
			c.bag.back()
			for _, d := range done {
				c.settle(ctx, d)
			}
			c.bag.start()
		case <-c.bag.timer.C:
			c.bag.start()
		case err := <-c.post.done:
			c.state.Letters = c.post.settle(c.state.Letters, err)
			if err == nil {
				c.save() // so that it is not sent again
			}
		case <-c.post.timer.C:
			c.post.start(c.state.Letters)
		case <-c.logs.retry.C:
			c.save()
		case <-quiet:
			c.log.Info("nothing left to do")
			return nil
		}
	}
}

// busy says whether there is something to wait for.
func (c *Courier) busy() bool {
	return len(c.known.jobs) > c.known.ended || len(c.state.Late) > 0 || c.bag.busy() || c.post.sending
}

// idle asks once more whether anything has happened that the courier has not seen.
func (c *Courier) idle(ctx context.Context) (bool, error) {
	for since := c.state.Pos; ; {
		p, err := c.cfg.Pool.Events(ctx, since)
		if err != nil || len(p.Events) > 0 {
			return false, err
		}
		if !p.More {
			return true, nil
		}
		since = p.Next
	}
}

// take handles a page of events: first the logs, then the position.
func (c *Courier) take(ctx context.Context, p client.Page) error {
	if err := c.identify(ctx, p.Events); err != nil {
		return err
	}
	streams, cancel := context.WithTimeout(ctx, streamsPatience)
	defer cancel()
	for _, ev := range p.Events {
		c.event(streams, ev)
	}
	for n, cl := range c.known.fresh {
		if !cl.Late.Limits() {
			delete(c.known.fresh, n) // its jobs are all known
		}
	}
	c.state.Pos = p.Next
	// While there is more at once, writing a large position each time would take longer than the work.
	if !p.More || time.Now().After(c.nextSave) {
		c.save()
	}
	c.bag.start()
	return nil
}

// save writes the logs, and then how far the courier is. What cannot be written is tried again later:
// until then the position stands where it was, and what came after it would be done again.
func (c *Courier) save() {
	begin := time.Now()
	c.state.Waiting = c.logs.sync()
	err := c.state.save(c.cfg.Dir)
	switch {
	case err != nil && err.Error() != c.trouble:
		c.log.Warn("the courier's position cannot be kept; it is tried again", diag.KeyError, err)
		c.trouble = err.Error()
	case err == nil && c.trouble != "":
		c.log.Info("the courier's position can be kept again")
		c.trouble = ""
	}
	if err != nil {
		c.logs.later()
		return
	}
	c.logs.tidy()
	c.post.start(c.state.Letters)
	c.nextSave = time.Now().Add(10 * time.Since(begin))
}

// event writes an event to the logs of its jobs and keeps track of them. The streams of held jobs are waited for until
// ctx ends.
func (c *Courier) event(ctx context.Context, ev job.Event) {
	ev.At = ev.At.In(c.cfg.Zone)
	out := pages{}
	l, before, after := c.clusterEvent(ev)
	if l != nil {
		out.add(l.Log, l.JSON, before)
	}
	onHold := func(int) bool { return false }
	if b, ok := ev.Body.(*job.Submitted); ok {
		if l != nil {
			c.logs.append(ev.Seq, out)
			return // its jobs come with events of their own
		}
		switch cl := c.known.fresh[b.Cluster]; {
		case cl != nil:
			onHold = cl.OnHold
		case b.Ad != nil && isLate(b.Ad):
			return // the jobs that are known of it have entered later
		}
	}
	for _, id := range ev.Body.Jobs() {
		o := c.known.jobs[id]
		if o == nil {
			continue
		}
		late := false // its streams are
		switch b := ev.Body.(type) {
		case *job.Submitted, *job.Opened:
			out.tell(o, submitted(id, o, ev.At, onHold(id.Proc)))
			continue
		case *job.HeldBack:
			late = len(b.Outputs) > 0 && !c.bringStreams(ctx, id)
		case *job.Delivered:
			if b.Expired && c.bag.sent(id) {
				ev.Body = &job.Delivered{Job: id} // they are here: the matchmaker was told a moment too late
			}
		}
		if o.notify != notifyNever {
			c.state.Letters = c.post.write(c.state.Letters, letterAbout(id, o, c.state.Runs[id], ev))
		}
		entries, run := translate(id, o, c.state.Runs[id], ev)
		out.tell(o, entries)
		if late {
			run.Bring = true
		}
		c.setRun(id, run)
		switch b := ev.Body.(type) {
		case *job.Edited:
			c.adopt(id, c.known.origins.edited(o, b.Set))
		case *job.Requeued, *job.HeldBack:
			if run.Bring {
				c.bag.add(id, false) // also for a held one: what is on its way may be older than its streams
			}
		case *job.Ended:
			c.bag.end(id, len(b.Result.Outputs) == 0)
		case *job.Withdrawn:
			if run != nil {
				c.forget(id) // what its last run has left is still brought
			} else {
				c.drop(id)
			}
		case *job.Delivered:
			if run != nil {
				c.bag.add(id, true) // for the last time
			} else {
				c.drop(id)
			}
		}
	}
	if l != nil {
		out.add(l.Log, l.JSON, after)
	}
	c.logs.append(ev.Seq, out)
}

// What a log says of a job that has ended without its outputs.
const (
	saysExpired   = "Outputs of this job are missing: they were not fetched in the time for which the matchmaker keeps them"
	saysForgotten = "Outputs of this job are missing: the matchmaker knows nothing of the job any more"
)

// forgottenAfter is how long a matchmaker must have had nothing of a job before that is taken to be for ever: it may be
// about to get its queue back from a backup.
const forgottenAfter = 24 * time.Hour

// settle takes how an errand went. That a file is not there means little by itself, since a matchmaker may be on its way
// back: only when it has given the outputs up, or has forgotten the job, the job's end is told without them.
func (c *Courier) settle(ctx context.Context, d delivery) {
	r := c.state.Runs[d.id]
	gone, untold := errors.Is(d.err, errGone), errors.Is(d.err, errUntold)
	switch {
	case !d.over || !r.over():
	case r.Expired && (d.err == nil || untold):
		d.err = c.end(ctx, d.id, "")
	case r.Expired && (gone || errors.Is(d.err, blob.ErrNotFound)):
		d.err = c.end(ctx, d.id, saysExpired)
	case gone:
		d.err = c.forgotten(ctx, d.id, saysForgotten)
	case untold:
		d.err = c.forgotten(ctx, d.id, "")
	}
	if c.bag.settle(d) {
		c.brought(d.id)
	}
}

// forgotten deals with a job that has ended and of which the matchmaker does not know that.
func (c *Courier) forgotten(ctx context.Context, id job.ID, says string) error {
	idle, err := c.idle(ctx)
	if err != nil {
		return err
	}
	if !idle {
		return errGone // it has more to tell, perhaps of this
	}
	live := false
	err = c.cfg.Pool.Columns(ctx, wire.QueryJobs, wire.Selection{Jobs: []job.ID{id}}, []string{"ClusterId"}, 1, func([]string) error {
		live = true
		return nil
	})
	if err != nil {
		return err
	}
	next := *c.state.Runs[id]
	switch {
	case live:
		c.log.Warn("the matchmaker has forgotten the job's end, and runs it again", diag.KeyJob, id)
		next.End, next.Gone = nil, time.Time{}
		c.setRun(id, &next)
		c.bag.remove(id)
		return nil
	case says == "" || !next.Gone.IsZero() && time.Since(next.Gone) > forgottenAfter:
		return c.end(ctx, id, says)
	case next.Gone.IsZero():
		next.Gone = time.Now()
		c.setRun(id, &next)
		c.save()
	}
	return errGone
}

// end tells the end of a job of which no event will. says is what its log has beside that, if anything.
func (c *Courier) end(ctx context.Context, id job.ID, says string) error {
	if c.known.jobs[id] == nil {
		if err := c.identifyThese(ctx, map[job.ID]bool{id: true}); err != nil {
			return err
		}
	}
	if says != "" {
		c.log.Warn(says, diag.KeyJob, id)
	}
	if o, r := c.known.jobs[id], c.state.Runs[id]; o != nil {
		entries := terminated(id, o, *r, c.cfg.Zone)
		if says != "" {
			entries = slices.Insert(entries, 0, eventlog.Event{
				Kind: eventlog.Generic, Job: id, Time: r.End.At.In(c.cfg.Zone), Reason: says,
			})
		}
		out := pages{}
		out.tell(o, entries)
		c.logs.append(noEvent, out)
	}
	c.drop(id)
	c.save()
	return nil
}

// brought notes that the outputs of a job's latest run are in place.
func (c *Courier) brought(id job.ID) {
	if r := c.state.Runs[id]; r != nil {
		next := *r
		next.Bring = false
		c.setRun(id, &next)
	}
}

// streamsPatience is how long the streams of all jobs that a page of events holds are waited for: all else waits, too.
const streamsPatience = time.Minute

// bringStreams brings what a held job has said, so that it is there when the log says that it is held. Otherwise they are
// still to be brought; the matchmaker keeps them while the job is held.
func (c *Courier) bringStreams(ctx context.Context, id job.ID) bool {
	_, err := c.cfg.Pool.Fetch(ctx, id, "", nil)
	switch {
	case errors.Is(err, client.ErrNoOutputs):
		c.log.Debug("the job is not held any more, and its streams are of the next run", diag.KeyJob, id)
	case err != nil:
		c.log.Warn("output of a held job cannot be put in place yet", diag.KeyJob, id, diag.KeyError, err)
		return false
	}
	return true
}
