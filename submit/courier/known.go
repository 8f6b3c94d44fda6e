package courier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
)

// known is what a courier knows of jobs: those that were submitted here, and whose the others are.
type known struct {
	jobs    map[job.ID]*origin   // of this host that have not ended, or whose outputs are not here
	ended   int                  // how many of them have ended
	foreign map[int]bool         // clusters of other hosts
	fresh   map[int]*job.Cluster // that this courier has seen being submitted, while they may bring new jobs
	origins origins
}

// findLive learns of the jobs in the queue that were submitted here.
func (c *Courier) findLive(ctx context.Context) error {
	err := c.ask(ctx, wire.QueryJobs, wire.Selection{Constraint: fmt.Sprintf("%s == %q", client.SubmitHost, c.cfg.Host)}, nil)
	if err != nil {
		return fmt.Errorf("ask for the jobs of this host: %w", err)
	}
	return nil
}

// ask learns of jobs from the matchmaker; each is told to seen, which may be nil.
func (c *Courier) ask(ctx context.Context, kind wire.QueryKind, sel wire.Selection, seen func(job.ID)) error {
	columns := slices.Concat([]string{"ClusterId", "ProcId", client.SubmitHost}, originAttrs)
	const ids, own = 2, 3 // of the columns
	ours := classad.NewAd()
	ours.SetString(client.SubmitHost, c.cfg.Host)
	host := ours.Eval(client.SubmitHost, nil).String() // as a value is written
	origins := map[string]*origin{}                    // by the values of which they are made
	return c.cfg.Pool.Columns(ctx, kind, sel, columns, 0, func(values []string) error {
		cluster, err1 := strconv.Atoi(values[0])
		proc, err2 := strconv.Atoi(values[1])
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("read the number of a job: %w", err)
		}
		id := job.ID{Cluster: cluster, Proc: proc}
		if values[ids] == host {
			key := strings.Join(values[own:], "\n") // the values have none, but as \n
			o := origins[key]
			if o == nil {
				o = c.known.origins.of(adOf(originAttrs, values[own:]))
				origins[strings.Clone(key)] = o
			}
			c.adopt(id, o)
		} else {
			c.ignore(cluster)
		}
		if seen != nil {
			seen(id)
		}
		return nil
	})
}

// adOf makes an ad of values in the ClassAd syntax.
func adOf(names, values []string) *classad.Ad {
	ad := classad.NewAd()
	for i, name := range names {
		if values[i] == "undefined" {
			continue
		}
		if e, err := classad.ParseExpr(values[i]); err == nil {
			ad.Set(name, e)
		}
	}
	return ad
}

// adopt makes a job the courier's.
func (c *Courier) adopt(id job.ID, o *origin) {
	before := c.known.jobs[id]
	switch {
	case before == o:
		return
	case before != nil:
		c.logs.release(before.log)
		c.logs.release(before.second)
	case c.state.Runs[id].over():
		c.known.ended++
	}
	c.logs.use(o.log)
	c.logs.use(o.second)
	c.known.jobs[id] = o
}

// setRun remembers how a job stands; nil forgets it.
func (c *Courier) setRun(id job.ID, r *run) {
	if r != nil && *r == (run{}) {
		r = nil // as of a job that nothing has happened to
	}
	if c.known.jobs[id] != nil {
		if c.state.Runs[id].over() {
			c.known.ended--
		}
		if r.over() {
			c.known.ended++
		}
	}
	if r == nil {
		delete(c.state.Runs, id)
	} else {
		c.state.Runs[id] = r
	}
}

// over says whether the job has ended.
func (r *run) over() bool { return r != nil && r.End != nil }

// drop forgets a job that has nothing more to come.
func (c *Courier) drop(id job.ID) {
	c.setRun(id, nil)
	c.forget(id)
	c.bag.remove(id)
}

// forget does so with a job that has nothing more to say, and may have outputs to come.
func (c *Courier) forget(id job.ID) {
	if o := c.known.jobs[id]; o != nil {
		c.logs.release(o.log)
		c.logs.release(o.second)
		delete(c.known.jobs, id)
	}
}

func (c *Courier) ignore(cluster int) {
	const most = 100_000
	if len(c.known.foreign) > most {
		clear(c.known.foreign) // to be asked for again
	}
	c.known.foreign[cluster] = true
}

// identify finds out whose the jobs of events are. Those that are neither known nor come with the events
// ended while no courier was here.
func (c *Courier) identify(ctx context.Context, events []job.Event) error {
	unknown := map[job.ID]bool{}
	for _, ev := range events {
		switch b := ev.Body.(type) {
		case *job.Submitted:
			if err := c.submitted(ctx, ev, b); err != nil {
				return err
			}
			continue
		case *job.Opened:
			if cl := c.known.fresh[b.Cluster]; cl != nil {
				c.enter(cl, b.From, b.Upto)
			}
		}
		if n, ok := job.ClusterOf(ev.Body); !ok || c.known.foreign[n] {
			continue
		}
		for _, id := range ev.Body.Jobs() {
			if c.known.jobs[id] == nil {
				unknown[id] = true
			}
		}
	}
	for id := range unknown {
		if c.known.jobs[id] != nil || c.known.foreign[id.Cluster] {
			delete(unknown, id) // it came with a later event of the page
		}
	}
	return c.identifyThese(ctx, unknown)
}

func (c *Courier) identifyThese(ctx context.Context, unknown map[job.ID]bool) error {
	const most = 1000 // in one question
	ids := make([]job.ID, 0, len(unknown))
	for id := range unknown {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, job.ID.Compare)
	for some := range slices.Chunk(ids, most) {
		for _, kind := range []wire.QueryKind{wire.QueryJobs, wire.QueryHistory} {
			if err := c.ask(ctx, kind, wire.Selection{Jobs: some}, func(id job.ID) { delete(unknown, id) }); err != nil {
				return fmt.Errorf("ask whose jobs these are: %w", err)
			}
		}
	}
	if len(unknown) > 0 {
		c.log.Warn("the matchmaker has forgotten jobs; if they were submitted here, their logs end early", "jobs", len(unknown))
	}
	return nil
}

// submitted learns of a cluster from the event that adds it.
func (c *Courier) submitted(ctx context.Context, ev job.Event, b *job.Submitted) error {
	if b.Ad == nil || !client.Submitted(b.Ad, c.cfg.Host) {
		c.ignore(b.Cluster)
		return nil
	}
	var table *job.Table
	var err error
	if b.Table != nil {
		table, err = c.cfg.Pool.Table(ctx, b.Table)
	}
	var cl *job.Cluster
	if err == nil {
		cl, err = job.NewCluster(ev, table)
	}
	if ctx.Err() != nil || diag.ExitCode(err) == diag.ExitUnreachable {
		return fmt.Errorf("learn of the jobs of cluster %d: %w", b.Cluster, err)
	}
	if err != nil {
		// It is long over, perhaps; what is left of it the matchmaker knows.
		c.log.Warn("the jobs of a cluster are not to be had as they were submitted", "cluster", b.Cluster, diag.KeyError, err)
		for _, kind := range []wire.QueryKind{wire.QueryHistory, wire.QueryJobs} {
			if err := c.ask(ctx, kind, wire.Selection{Clusters: []int{b.Cluster}}, nil); err != nil {
				return fmt.Errorf("learn of the jobs of cluster %d: %w", b.Cluster, err)
			}
		}
		return nil
	}
	c.known.fresh[b.Cluster] = cl
	if !cl.Late.Limits() {
		c.enter(cl, 0, cl.Len())
	}
	return nil
}

// enter adopts jobs of a cluster as they come into the queue.
func (c *Courier) enter(cl *job.Cluster, from, upto int) {
	var same *origin // of all, where nothing that counts differs
	if !slices.ContainsFunc(cl.Varies(), ofOrigin) {
		same = c.originIn(cl, from)
	}
	for proc := from; proc < min(upto, cl.Len()); proc++ {
		id := job.ID{Cluster: cl.Number, Proc: proc}
		if c.known.jobs[id] != nil {
			continue
		}
		o := same
		if o == nil {
			o = c.originIn(cl, proc)
		}
		c.adopt(id, o)
	}
}

func (c *Courier) originIn(cl *job.Cluster, proc int) *origin {
	ad := cl.Job(proc, cl.At).Ad
	ad.SetInt("ClusterId", int64(cl.Number)) // names may be expressions over these
	ad.SetInt("ProcId", int64(proc))
	return c.known.origins.of(ad)
}
