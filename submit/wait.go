package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/eventlog"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/quantity"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
	"skua/submit/courier"
)

func (a *app) waitCommand() *cobra.Command {
	var timeout quantity.Duration
	var how waiting
	c := &cobra.Command{
		Use:   "wait [CLUSTER | JOB | LOG]...",
		Short: "wait until jobs have ended and their outputs are here",
		Long: `Wait returns when all the jobs have ended, all your jobs in the queue if none are named. For jobs that
were submitted on this machine it also waits until their outputs are in place, and if none are named
also for the outputs of those that have completed already.

Instead of jobs the event log of a description may be named ("log = sweep.log"): then wait follows that
file until all the jobs in it have ended, or the ones that are named after it, and asks no pool. That
works wherever the file can be read.

The exit code is 0 when all completed with exit code 0, and 4 when one did not, was removed or is held.
For a job with success_exit_code that is the code which means well. A job that is held is waited for no
longer.`,
		Example: `  skua wait 12
  skua wait 12.0 13 --timeout 1h && gnuplot results.gp
  skua wait 12 --num 3                  until three of them have ended
  skua wait sweep.log
  skua wait sweep.log 12.4 --echo       show the log's events meanwhile`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, timeout.Std(), errTimeout)
				defer cancel()
			}
			if how.num < 0 {
				return usage("0 means all", "--num %d", how.num)
			}
			if how.num > 0 && how.allEvents {
				return usage("leave one of them out", "--num together with --all-events")
			}
			if len(args) > 0 && (a.as != "" || lookAt(args[0]) == file || !jobWord.MatchString(args[0])) {
				return a.waitForLog(ctx, args[0], args[1:], how)
			}
			if how.echo || how.status || how.allEvents {
				return usage("name the log: skua wait sweep.log --echo", "--echo, --status and --all-events are for logs")
			}
			sel, err := selection(args)
			if err != nil {
				return err
			}
			pool, home, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer pool.Close()
			return a.wait(ctx, pool, home, sel, how)
		},
	}
	f := c.Flags()
	f.TextVar(&timeout, "timeout", quantity.Duration(0), "how long to wait, a `DURATION` such as 90s, 2h or 1d; 0 means for ever")
	f.Lookup("timeout").DefValue = ""
	f.IntVar(&how.num, "num", 0, "return when this many of the jobs have ended; 0 means all")
	f.BoolVar(&how.echo, "echo", false, "show the events of the log")
	f.BoolVar(&how.allEvents, "all-events", false, "with a log: go on when all jobs have ended, since others may be added to it")
	f.BoolVar(&how.status, "status", false, "say when a job in the log is submitted, started and has ended")
	return c
}

// jobWord tells clusters and jobs from the names of logs.
var jobWord = regexp.MustCompile(`^[\d.]+$`)

// waiting says how to wait.
type waiting struct {
	num          int  // for so many to end; 0 for all
	echo, status bool // of a log
	allEvents    bool // and go on when all jobs of a log have ended
}

var errTimeout = errors.New("time is up")

// vigil is what a wait knows of the jobs it waits for.
type vigil struct {
	host  string
	num   int             // how many are to end; 0 for all
	done  int             // jobs that have ended
	live  map[job.ID]bool // not ended, those that have yet to enter the queue included; true for one that runs
	whole map[int]bool    // clusters of which all jobs are waited for
	late  latecomers      // also of others
	away  map[job.ID]bool // completed, submitted here, and the outputs are not here
	ours  map[job.ID]bool // submitted here
	fails []failure
	good  map[job.ID]string // the exit codes that mean well, where that is not 0
	edits map[job.ID]string // those that were edited meanwhile; of that job only, unlike the others of its cluster
	last  uint64            // the last event of a job of ours that the courier must have dealt with
}

func newVigil(host string, num int) *vigil {
	return &vigil{
		host: host, num: num, live: map[job.ID]bool{}, whole: map[int]bool{}, late: latecomers{},
		away: map[job.ID]bool{}, ours: map[job.ID]bool{}, good: map[job.ID]string{}, edits: map[job.ID]string{},
	}
}

// over says whether there is nothing more to wait for.
func (v *vigil) over() bool {
	return v.enough() || len(v.live)+len(v.away) == 0
}

// enough says whether as many have ended as are to, with their outputs here.
func (v *vigil) enough() bool { return v.num > 0 && v.done-len(v.away) >= v.num }

// wait waits until the selected jobs have ended.
func (a *app) wait(ctx context.Context, pool *client.Client, home client.Home, sel wire.Selection, how waiting) error {
	host, err := home.HostID()
	if err != nil {
		return err
	}
	v := newVigil(host, how.num)
	since, err := v.begin(ctx, pool, sel)
	if err != nil {
		return err
	}
	if !v.over() {
		err = a.keepVigil(ctx, pool, home, v, since)
		a.awaitCourier(ctx, home, v.last)
	}
	for _, f := range v.failures() {
		a.say("%s", printable(f))
	}
	switch {
	case errors.Is(err, errTimeout):
		return v.overdue()
	case err != nil && !errors.Is(err, client.ErrEnough):
		return err
	case len(v.fails) > 0:
		return errQuiet
	}
	return nil
}

// keepVigil follows the jobs until all have ended.
func (a *app) keepVigil(ctx context.Context, pool *client.Client, home client.Home, v *vigil, since uint64) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { a.mindCourier(ctx, home) })
	awaited := make(chan []job.ID)
	wg.Go(func() { a.mindOutputs(ctx, pool, home, awaited) })
	remind := func() {
		select {
		case awaited <- v.onlyOutputs():
		case <-ctx.Done():
		}
	}
	remind()
	bar := a.meter("waiting")
	defer bar.clear()
	bar.jobs(v.done, v.done+len(v.live), v.rest())
	return pool.Follow(ctx, since, func(p client.Page) error {
		for _, ev := range p.Events {
			v.event(ev)
		}
		if v.over() {
			return client.ErrEnough
		}
		remind()
		bar.jobs(v.done, v.done+len(v.live), v.rest())
		return nil
	})
}

// onlyOutputs gives the jobs whose outputs are not here, once nothing else is waited for.
func (v *vigil) onlyOutputs() []job.ID {
	if len(v.live) > 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(v.away), job.ID.Compare)
}

// mindOutputs says what is wrong with outputs that are not here soon after the last job has ended. awaited tells, each
// time something has changed, whose outputs are waited for and nothing else.
func (a *app) mindOutputs(ctx context.Context, pool *client.Client, home client.Home, awaited <-chan []job.ID) {
	const soon = 10 * time.Second
	late := time.NewTimer(soon)
	defer late.Stop()
	var ids []job.ID
	for {
		select {
		case <-ctx.Done():
			return
		case ids = <-awaited:
			if late.Stop(); len(ids) > 0 {
				late.Reset(soon)
			}
		case <-late.C:
			a.sayLate(ctx, pool, home, ids)
		}
	}
}

// sayLate says why outputs are not here, where that can be seen without the courier.
func (a *app) sayLate(ctx context.Context, pool *client.Client, home client.Home, ids []job.ID) {
	const most = 20 // to ask of
	for _, id := range ids[:min(len(ids), most)] {
		if err := pool.Misplaced(ctx, id); err != nil {
			diag.Print(a.err, a.name(), fmt.Errorf("all jobs have ended, and outputs are not here yet: %w", err))
			return
		}
	}
	if ctx.Err() == nil {
		a.say("all jobs have ended, and outputs are not here yet; %s says why", courier.LogFile(home))
	}
}

// awaitCourier waits until the courier has dealt with an event: who hears that a job is held looks into its
// standard error next, and who hears that it has ended may look into its log. A courier that is in trouble is
// not waited for.
func (a *app) awaitCourier(ctx context.Context, home client.Home, last uint64) {
	m, err := membership.Open(home.Member())
	if last == 0 || err != nil {
		return
	}
	const patience, pause = 10 * time.Second, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !courier.Reached(courier.Dir(home, m), last) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// rest is what a meter says besides how many have ended.
func (v *vigil) rest() string {
	running := 0
	for _, runs := range v.live {
		if runs {
			running++
		}
	}
	s := fmt.Sprintf("%d running", running)
	if n := len(v.fails); n > 0 {
		s += fmt.Sprintf(", %d failed", n)
	}
	if len(v.live) == 0 {
		s = "bringing outputs"
	}
	return s
}

// mindCourier starts the courier when it is missing, until ctx ends.
func (a *app) mindCourier(ctx context.Context, home client.Home) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if courier.Wanted(home) {
				a.startCourier(home)
			}
		}
	}
}

// begin looks at the jobs as they are.
func (v *vigil) begin(ctx context.Context, pool *client.Client, sel wire.Selection) (since uint64, err error) {
	// What is to come is asked for first, so that a job which enters meanwhile is seen here or there.
	if v.late, since, err = findLatecomers(ctx, pool, sel.Clusters); err != nil {
		return 0, err
	}
	rows, _, err := pool.Jobs(ctx, sel)
	if err != nil {
		return 0, err
	}
	v.present(rows)
	if len(sel.Clusters)+len(sel.Jobs) == 0 { // of all one's jobs those in the queue are meant, those to come, and those whose outputs are
		undelivered, err := pool.Undelivered(ctx)
		if err != nil {
			return 0, err
		}
		v.past(slices.DeleteFunc(undelivered, func(r wire.JobRow) bool { return !client.Submitted(r.Ad, v.host) }))
		return since, v.awaitAllLate(ctx, pool)
	}
	ended, err := pool.History(ctx, sel, 0)
	if err != nil {
		return 0, err
	}
	v.past(ended)
	v.await(sel.Clusters...)
	if len(v.ours) == 0 {
		return 0, errNoSuchJobs
	}
	return since, nil
}

// know notes what of a job's ad counts later.
func (v *vigil) know(r wire.JobRow) {
	v.ours[r.ID] = client.Submitted(r.Ad, v.host)
	if code, ok := r.Ad.Int(eventlog.SuccessExit); ok && code != 0 {
		v.good[r.ID] = fmt.Sprint(code)
	}
}

// present takes up jobs that are in the queue.
func (v *vigil) present(rows []wire.JobRow) {
	for _, r := range rows {
		v.know(r)
		v.live[r.ID] = false
		switch stateOf(r.Ad) {
		case job.Held:
			reason, _ := r.Ad.Str("HoldReason")
			v.fail(r.ID, "is", "held: "+reason)
		case job.Running:
			v.live[r.ID] = true
		}
	}
}

// past takes up jobs that have ended.
func (v *vigil) past(rows []wire.JobRow) {
	for _, r := range rows {
		v.know(r)
		v.ended(r.ID, exitOf(r.Ad), r.Delivered)
	}
}

// awaitAllLate has all jobs that are to come waited for.
func (v *vigil) awaitAllLate(ctx context.Context, pool *client.Client) error {
	for c := range v.late {
		if _, _, known := v.place(c); !known { // none is in the queue at this moment
			last, err := pool.History(ctx, wire.Selection{Clusters: []int{c}}, 1)
			if err != nil {
				return err
			}
			for _, r := range last {
				v.know(r)
			}
		}
		v.await(c)
	}
	return nil
}

// await has all jobs of these clusters waited for.
func (v *vigil) await(clusters ...int) {
	for _, c := range clusters {
		v.whole[c] = true
		left := v.late[c]
		v.take(c, left.Jobs())
	}
}

// take takes up jobs of a cluster that have not been seen.
func (v *vigil) take(cluster int, ids []job.ID) {
	like, ours, _ := v.place(cluster)
	for _, id := range ids {
		if _, known := v.ours[id]; !known {
			v.live[id], v.ours[id] = false, ours
			if code := v.good[like]; code != "" {
				v.good[id] = code
			}
		}
	}
}

// place says whether a cluster was submitted here, if a job of it is known: all were submitted from one place.
func (v *vigil) place(cluster int) (like job.ID, ours, known bool) {
	for id, ours := range v.ours {
		if id.Cluster == cluster {
			return id, ours, true
		}
	}
	return job.ID{}, false, false
}

func (v *vigil) event(ev job.Event) {
	v.forget(v.late.event(ev.Body))
	if b, ok := ev.Body.(*job.Opened); ok {
		if v.whole[b.Cluster] {
			v.take(b.Cluster, b.Jobs())
		}
		return
	}
	for _, id := range ev.Body.Jobs() {
		if _, live := v.live[id]; !live {
			if _, ok := ev.Body.(*job.Delivered); ok && v.away[id] {
				delete(v.away, id)
				v.last = ev.Seq
			}
			continue
		}
		switch b := ev.Body.(type) {
		case *job.Started, *job.Continued, *job.Revived:
			v.live[id] = true
		case *job.Paused, *job.Lapsed, *job.Evicted, *job.Requeued:
			v.live[id] = false
		case *job.Ended:
			exit := fmt.Sprint(b.Result.ExitCode)
			if b.Result.Signal != 0 {
				exit = fmt.Sprintf("signal %d", b.Result.Signal)
			}
			v.ended(id, exit, false)
		case *job.Withdrawn:
			v.ended(id, "removed", false)
		case *job.Edited:
			for _, a := range b.Set {
				if strings.EqualFold(a.Name, eventlog.SuccessExit) {
					v.edits[id] = successExit(a.Expr)
				}
			}
		case *job.HeldBack:
			if v.ours[id] && len(b.Outputs) > 0 {
				v.last = ev.Seq
			}
			v.fail(id, "is", "held: "+b.Reason)
		}
	}
}

// successExit reads the exit code that means well from an edit. What is no integer says none, and leaves it at 0.
func successExit(expr string) string {
	e, err := classad.ParseExpr(expr)
	if err != nil {
		return "0"
	}
	code, ok := e.Eval(nil, nil).Int()
	if !ok {
		return "0"
	}
	return fmt.Sprint(code)
}

// forget notes that jobs never enter the queue.
func (v *vigil) forget(never []job.ID) {
	n := 0
	for _, id := range never {
		if _, live := v.live[id]; live {
			delete(v.live, id)
			n++
		}
	}
	if n > 0 {
		v.done += n
		v.fails = append(v.fails, failure{what: fmt.Sprintf("cluster %d was removed before %d of its jobs had entered the queue", never[0].Cluster, n)})
	}
}

// ended notes how a job ended.
func (v *vigil) ended(id job.ID, exit string, delivered bool) {
	if _, live := v.live[id]; !live && v.enough() {
		return // enough have ended before it
	}
	switch exit {
	case cmp.Or(v.edits[id], v.good[id], "0"):
		delete(v.live, id)
		v.done++
	case "removed":
		v.fail(id, "was", "removed")
		return
	default:
		v.fail(id, "ended", "with "+exitWords(exit))
	}
	if v.ours[id] && !delivered {
		v.away[id] = true
	}
}

func exitWords(exit string) string {
	if exit != "" && exit[0] >= '0' && exit[0] <= '9' {
		return "exit code " + exit
	}
	return exit
}

func (v *vigil) fail(id job.ID, verb, what string) {
	delete(v.live, id)
	v.done++
	v.fails = append(v.fails, failure{id, verb, what})
}

// failures says which jobs did not end well.
func (v *vigil) failures() []string { return told(v.fails) }

// overdue says what is missing when the time is up.
func (v *vigil) overdue() error {
	ids := slices.SortedFunc(maps.Keys(v.live), job.ID.Compare)
	if n := len(ids); n > 0 {
		what := fmt.Sprintf("time is up and %s has not ended", jobsNamed(ids))
		if n > 1 {
			what = fmt.Sprintf("time is up and %d jobs have not ended: %s", n, ranges(ids))
		}
		return &diag.Problem{What: what, Hint: `"skua q" says how they are`}
	}
	ids = slices.SortedFunc(maps.Keys(v.away), job.ID.Compare)
	return &diag.Problem{
		What: fmt.Sprintf("time is up and the outputs of %s are not here yet", jobsNamed(ids)),
		Hint: fmt.Sprintf(`"skua fetch %v" brings them and says what is in the way`, ids[0]),
	}
}
