package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
	"skua/submit/courier"
)

func (a *app) waitCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "wait [CLUSTER | JOB]...",
		Short: "wait until jobs have ended and their outputs are here",
		Long: `Wait returns when all the jobs have ended, all your jobs in the queue if none are named. For jobs that
were submitted on this machine it also waits until their outputs are in place.

The exit code is 0 when all completed with exit code 0, and 4 when one did not, was removed or is held.`,
		Example: `  skua wait 12
  skua wait 12.0 13 --timeout 1h && gnuplot results.gp`,
		RunE: func(c *cobra.Command, args []string) error {
			sel, err := selection(args)
			if err != nil {
				return err
			}
			ctx := c.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, timeout, errTimeout)
				defer cancel()
			}
			pool, home, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer pool.Close()
			return a.wait(ctx, pool, home, sel)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait, such as 90s or 2h; 0 means for ever")
	return c
}

var errTimeout = errors.New("time is up")

// vigil is what a wait knows of the jobs it waits for.
type vigil struct {
	host  string
	live  map[job.ID]bool // not ended
	away  map[job.ID]bool // completed, submitted here, and the outputs are not here
	ours  map[job.ID]bool // submitted here
	fails []string
}

// wait waits until the selected jobs have ended.
func (a *app) wait(ctx context.Context, pool *client.Client, home client.Home, sel wire.Selection) error {
	host, err := home.HostID()
	if err != nil {
		return err
	}
	v := &vigil{host: host, live: map[job.ID]bool{}, away: map[job.ID]bool{}, ours: map[job.ID]bool{}}
	since, err := v.begin(ctx, pool, sel)
	if err != nil {
		return err
	}
	if len(v.live)+len(v.away) > 0 {
		err = a.keepVigil(ctx, pool, home, v, since)
	}
	for _, f := range v.fails {
		a.say("%s", printable(f))
	}
	switch {
	case errors.Is(err, errTimeout):
		return v.late()
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

	// Outputs that are not here soon after the last job are in trouble, of which only the courier knows.
	const soon = 10 * time.Second
	late := time.AfterFunc(soon, func() {
		a.say("all jobs have ended, and outputs are not here yet; %s says why", courier.LogFile(home))
	})
	defer late.Stop()
	remind := func() {
		if len(v.live) > 0 {
			late.Stop()
		} else {
			late.Reset(soon)
		}
	}
	remind()
	return pool.Follow(ctx, since, func(p client.Page) error {
		for _, ev := range p.Events {
			v.event(ev)
		}
		if len(v.live)+len(v.away) == 0 {
			return client.ErrEnough
		}
		remind()
		return nil
	})
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
	rows, since, err := pool.Jobs(ctx, sel)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		v.ours[r.ID] = client.Submitted(r.Ad, v.host)
		if stateOf(r.Ad) == job.Held {
			reason, _ := r.Ad.Str("HoldReason")
			v.fail(r.ID, "is held: %s", reason)
			continue
		}
		v.live[r.ID] = true
	}
	named := len(sel.Clusters)+len(sel.Jobs) > 0
	if !named {
		return since, nil // of all one's jobs those that are in the queue are meant
	}
	ended, err := pool.History(ctx, sel, 0)
	if err != nil {
		return 0, err
	}
	for _, r := range ended {
		delete(v.live, r.ID) // it ended between the two questions
		v.ours[r.ID] = client.Submitted(r.Ad, v.host)
		v.ended(r.ID, exitOf(r.Ad), r.Delivered)
	}
	if len(v.ours) == 0 {
		return 0, &diag.Problem{What: "you have no such jobs", Hint: `"skua q" lists your jobs, "skua history" those that have ended`}
	}
	return since, nil
}

func (v *vigil) event(ev job.Event) {
	for _, id := range ev.Body.Jobs() {
		if !v.live[id] {
			if _, ok := ev.Body.(*job.Delivered); ok {
				delete(v.away, id)
			}
			continue
		}
		switch b := ev.Body.(type) {
		case *job.Ended:
			exit := fmt.Sprint(b.Result.ExitCode)
			if b.Result.Signal != 0 {
				exit = fmt.Sprintf("signal %d", b.Result.Signal)
			}
			v.ended(id, exit, false)
		case *job.Withdrawn:
			v.ended(id, "removed", false)
		case *job.HeldBack:
			v.fail(id, "is held: %s", b.Reason)
		}
	}
}

// ended notes how a job ended.
func (v *vigil) ended(id job.ID, exit string, delivered bool) {
	delete(v.live, id)
	switch exit {
	case "0":
	case "removed":
		v.fail(id, "was removed")
		return
	default:
		v.fail(id, "ended with %s", exitWords(exit))
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

func (v *vigil) fail(id job.ID, format string, args ...any) {
	delete(v.live, id)
	v.fails = append(v.fails, fmt.Sprintf("job %v "+format, append([]any{id}, args...)...))
}

// late says what is missing when the time is up.
func (v *vigil) late() error {
	if len(v.live) > 0 {
		return &diag.Problem{What: fmt.Sprintf("time is up and %d jobs have not ended", len(v.live)), Hint: `"skua q" says how they are`}
	}
	return &diag.Problem{
		What: fmt.Sprintf("time is up and the outputs of %d jobs are not here yet", len(v.away)),
		Hint: `"skua fetch JOB" brings them and says what is in the way`,
	}
}
