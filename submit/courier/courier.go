// Package courier is the submit side's background process: it writes the event logs of the user's jobs
// and brings their outputs to where the user wants them.
//
// A courier is responsible for the jobs that were submitted from its host, and is their logs' only
// writer. It follows the user's events by sequence number. Three things are durable, in this order: the
// logs, how far each of them is, and how far the courier is; so a courier that dies anywhere begins
// again a little earlier, and what it does twice changes nothing. That a job has terminated stands in its
// log only once its outputs are in place, because scripts wait for the one and read the other.
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
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
)

// Pool is the matchmaker as a courier needs it; a *client.Client is one.
type Pool interface {
	Jobs(ctx context.Context, sel wire.Selection) ([]wire.JobRow, uint64, error)
	History(ctx context.Context, sel wire.Selection, limit int) ([]wire.JobRow, error)
	Events(ctx context.Context, since uint64) (client.Page, error)
	Follow(ctx context.Context, since uint64, handle func(client.Page) error) error
	Fetch(ctx context.Context, id job.ID, dir string, progress transfer.Progress) ([]string, error)
	Act(ctx context.Context, do wire.ActionVerb, sel wire.Selection, reason string, set ...job.Assigned) (wire.ActionResult, error)
}

// Config is what a Courier is made of. Fields marked required have no default.
type Config struct {
	Pool   Pool          // required
	Host   string        // required: see client.SubmitHost
	Dir    string        // required: where the courier keeps its position, one directory for each pool
	Linger time.Duration // how long to stay when there is nothing to do; 0 means 3 minutes
	Retry  time.Duration // the first pause before something that failed is tried again; 0 means 5 s
	Log    *slog.Logger  // nil means no logging
}

// Courier serves one user on one host. There must be one at a time: see [Serve].
type Courier struct {
	cfg   Config
	log   *slog.Logger
	state *state
	logs  *logs
	bag   *bag

	jobs    map[job.ID]*classad.Ad // of this host that have not ended, or whose outputs are not here
	foreign map[int]bool           // clusters of other hosts

	nextSave time.Time
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
	c := &Courier{cfg: cfg, log: cfg.Log, jobs: map[job.ID]*classad.Ad{}, foreign: map[int]bool{}}
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
	if c.logs, err = openLogs(c.cfg.Dir, c.state.Waiting, c.log); err != nil {
		return false, err
	}
	defer c.logs.close()
	if err := c.findLive(ctx); err != nil {
		return false, err
	}

	if c.logs.waiting() {
		if err := c.save(); err != nil { // which tries them
			return false, err
		}
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.bag = newBag(ctx, c.cfg, c.log)
	defer c.bag.close()
	for id, r := range c.state.Runs {
		if r.End != nil {
			c.bag.add(id)
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
	err = c.loop(ctx, pages, handled)
	return len(c.bag.jobs) > 0 || c.logs.waiting(), err
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
		if c.bag.full() {
			next = nil // first things first: what is known is bounded
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p := <-next:
			if err := c.take(ctx, p); err != nil {
				return err
			}
			handled <- nil
		case d := <-c.bag.done:
			if errors.Is(d.err, errGone) {
				c.log.Warn("outputs are lost: the matchmaker has forgotten the job", diag.KeyJob, d.id)
				c.drop(d.id)
			}
			c.bag.settle(d)
		case <-c.bag.timer.C:
			c.bag.start()
		case <-c.logs.retry.C:
			if err := c.save(); err != nil {
				return err
			}
		case <-quiet:
			c.log.Info("nothing left to do")
			return nil
		}
	}
}

// busy says whether there is something to wait for.
func (c *Courier) busy() bool {
	for id := range c.jobs {
		if r := c.state.Runs[id]; r == nil || r.End == nil {
			return true // not ended
		}
	}
	return c.bag.busy()
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

// findLive learns of the jobs in the queue that were submitted here.
func (c *Courier) findLive(ctx context.Context) error {
	rows, _, err := c.cfg.Pool.Jobs(ctx, wire.Selection{Constraint: fmt.Sprintf("%s == %q", client.SubmitHost, c.cfg.Host)})
	if err != nil {
		return fmt.Errorf("ask for the jobs of this host: %w", err)
	}
	for _, r := range rows {
		c.adopt(r.ID, r.Ad)
	}
	return nil
}

// adopt makes a job the courier's.
func (c *Courier) adopt(id job.ID, ad *classad.Ad) {
	if c.jobs[id] == nil {
		c.logs.use(logPath(ad))
	}
	c.jobs[id] = ad
}

// drop forgets a job that has nothing more to come.
func (c *Courier) drop(id job.ID) {
	if ad := c.jobs[id]; ad != nil {
		c.logs.release(logPath(ad))
		delete(c.jobs, id)
	}
	delete(c.state.Runs, id)
	c.bag.remove(id)
}

// take handles a page of events: first the logs, then the position.
func (c *Courier) take(ctx context.Context, p client.Page) error {
	if err := c.identify(ctx, p.Events); err != nil {
		return err
	}
	for _, ev := range p.Events {
		c.event(ev)
	}
	c.state.Pos = p.Next
	// While there is more at once, writing a large position each time would take longer than the work.
	if !p.More || time.Now().After(c.nextSave) {
		if err := c.save(); err != nil {
			return err
		}
	}
	c.bag.start()
	return nil
}

// save writes the logs, and then how far the courier is.
func (c *Courier) save() error {
	begin := time.Now()
	c.state.Waiting = c.logs.sync()
	if err := c.state.save(c.cfg.Dir); err != nil {
		return err
	}
	c.logs.tidy()
	c.nextSave = time.Now().Add(10 * time.Since(begin))
	return nil
}

// identify finds out whose the jobs of events are, as far as it is not known. These are jobs that ended
// while no courier was here.
func (c *Courier) identify(ctx context.Context, events []job.Event) error {
	unknown := map[job.ID]bool{}
	for _, ev := range events {
		if s, ok := ev.Body.(*job.Submitted); ok {
			c.submitted(s)
			for _, id := range s.Jobs() {
				delete(unknown, id)
			}
			continue
		}
		for _, id := range ev.Body.Jobs() {
			if c.jobs[id] == nil && !c.foreign[id.Cluster] {
				unknown[id] = true
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	var sel wire.Selection
	for id := range unknown {
		sel.Jobs = append(sel.Jobs, id)
	}
	rows, _, err := c.cfg.Pool.Jobs(ctx, sel)
	if err != nil {
		return fmt.Errorf("ask whose jobs these are: %w", err)
	}
	ended, err := c.cfg.Pool.History(ctx, sel, 0)
	if err != nil {
		return fmt.Errorf("ask whose jobs these are: %w", err)
	}
	for _, r := range append(rows, ended...) {
		delete(unknown, r.ID)
		if client.Submitted(r.Ad, c.cfg.Host) {
			c.adopt(r.ID, r.Ad)
		} else {
			c.ignore(r.ID.Cluster)
		}
	}
	if len(unknown) > 0 {
		c.log.Warn("the matchmaker has forgotten jobs; if they were submitted here, their logs end early", "jobs", len(unknown))
	}
	return nil
}

func (c *Courier) ignore(cluster int) {
	const most = 100_000
	if len(c.foreign) > most {
		clear(c.foreign) // to be asked for again
	}
	c.foreign[cluster] = true
}

// submitted learns of a cluster from the event that added it.
func (c *Courier) submitted(s *job.Submitted) {
	if s.Ad == nil || !client.Submitted(s.Ad, c.cfg.Host) {
		c.ignore(s.Cluster)
		return
	}
	for proc, ad := range s.Procs {
		id := job.ID{Cluster: s.Cluster, Proc: proc}
		if ad == nil || c.jobs[id] != nil {
			continue
		}
		ad.SetParent(s.Ad)
		ad.SetInt("ClusterId", int64(id.Cluster)) // names may be expressions over these
		ad.SetInt("ProcId", int64(id.Proc))
		c.adopt(id, ad)
	}
}

// event writes an event to the logs of its jobs and keeps track of them.
func (c *Courier) event(ev job.Event) {
	for _, id := range ev.Body.Jobs() {
		ad := c.jobs[id]
		if ad == nil {
			continue
		}
		run := c.state.Runs[id]
		entries, run := translate(id, ad, run, ev)
		if run == nil {
			delete(c.state.Runs, id)
		} else {
			c.state.Runs[id] = run
		}
		c.logs.append(logPath(ad), ev.Seq, entries)
		switch ev.Body.(type) {
		case *job.Ended:
			c.bag.add(id)
		case *job.Withdrawn, *job.Delivered:
			c.drop(id)
		}
	}
}
