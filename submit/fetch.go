package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) fetchCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "fetch {CLUSTER | JOB}...",
		Short: "bring the outputs of completed and held jobs, and of runs that are repeated",
		Long: `Fetch brings outputs to where the job description wants them, or with --dir anywhere: those of several
jobs into a directory for each, such as results/12.3. A job that has completed brings all its outputs,
one that is held its standard output and error, if it has run before, and one that runs again and again
the outputs of its last whole run. On the machine where you
submitted, the courier does so by itself; fetch is for other machines, and for when the courier could
not.`,
		Example: `  skua fetch 12.0
  skua fetch 12 --dir results`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name a cluster (12) or a job (12.3)", "fetch wants to know which jobs")
			}
			return nil
		},
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			sel, err := selection(args)
			if err != nil {
				return err
			}
			if dir != "" {
				if dir, err = filepath.Abs(dir); err != nil {
					return err
				}
			}
			pool, home, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			host, err := home.HostID()
			if err != nil {
				return err
			}
			rows, err := fetchable(c.Context(), pool, sel)
			if err != nil {
				return err
			}
			fetched := 0
			var failed []error
			for _, r := range rows {
				into := dir
				if dir != "" && len(rows) > 1 {
					into = filepath.Join(dir, r.ID.String()) // the jobs' files have the same names
				}
				some, err := a.fetch(c.Context(), pool, r, into, host)
				if some {
					fetched++
				}
				if err != nil {
					failed = append(failed, err)
				}
				if err := c.Context().Err(); err != nil {
					return err
				}
				if diag.ExitCode(err) == diag.ExitUnreachable {
					break // the others would fail in the same way
				}
			}
			if len(failed) > 0 {
				return a.several(failed)
			}
			if fetched == 0 {
				if none, err := noJobs(c.Context(), pool, sel); err != nil || none != nil {
					return cmp.Or(err, none)
				}
				return &diag.Problem{
					What: "none of these jobs has completed, and of those that are held or run again there is no output",
					Hint: `"skua q" and "skua history" say how they are`,
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "bring them into this directory; of several jobs, into one for each below it")
	return c
}

// fetchable lists the jobs of a selection that may have outputs to fetch: those that have completed, those that are
// held, and those of which a run has ended that is to be repeated.
func fetchable(ctx context.Context, pool *client.Client, sel wire.Selection) ([]wire.JobRow, error) {
	rows, err := pool.History(ctx, sel, 0)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r wire.JobRow) bool { return stateOf(r.Ad) != job.Completed })
	sel.Constraint = fmt.Sprintf("JobStatus == %d || NumJobCompletions > 0", job.Held)
	live, _, err := pool.Jobs(ctx, sel)
	return append(rows, live...), err
}

// noJobs says that a user has no jobs of a selection, neither in the queue nor ended; nil for a user who has.
func noJobs(ctx context.Context, pool *client.Client, sel wire.Selection) (none, err error) {
	for _, list := range []func() ([]wire.JobRow, error){
		func() ([]wire.JobRow, error) { rows, _, err := pool.Jobs(ctx, sel); return rows, err },
		func() ([]wire.JobRow, error) { return pool.History(ctx, sel, 1) },
	} {
		if rows, err := list(); err != nil || len(rows) > 0 {
			return nil, err
		}
	}
	return errNoSuchJobs, nil
}

// errNoSuchJobs is the error of a command about jobs that its user does not have.
var errNoSuchJobs = &diag.Problem{What: "you have no such jobs", Hint: `"skua q" lists your jobs, "skua history" those that have ended`}

// fetch brings the outputs of one job into a directory, or to their places if dir is empty. some is false for a job
// that has none. host is this machine: what was submitted here is delivered when its outputs are in their places.
func (a *app) fetch(ctx context.Context, pool *client.Client, r wire.JobRow, dir, host string) (some bool, err error) {
	live := stateOf(r.Ad) != job.Completed
	files, err := pool.Fetch(ctx, r.ID, dir, a.progress("fetching"))
	for _, f := range files {
		fmt.Fprintln(a.out, f)
	}
	switch {
	case live && errors.Is(err, client.ErrNoOutputs):
		return false, nil
	case err != nil:
		return true, err
	}
	// Brought to their place, they need no courier any more.
	if at, _ := r.Ad.Str("SkuaSubmitHost"); dir == "" && at == host && !live {
		_, err = pool.Act(ctx, wire.Deliver, wire.Selection{Jobs: []job.ID{r.ID}}, "")
	}
	return true, err
}

// several says what went wrong with each of several things, but for the last, which is for whoever called.
func (a *app) several(errs []error) error {
	last := len(errs) - 1
	for _, err := range errs[:last] {
		diag.Print(a.err, a.name(), err)
	}
	return errs[last]
}
