package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/wire"
)

func (a *app) holdCommand() *cobra.Command {
	return a.action("hold", wire.HoldJob, "held", "park jobs until they are released",
		`Hold takes jobs off their machines and keeps them from running until "skua release". A held job goes on
from its newest checkpoint.`)
}

func (a *app) releaseCommand() *cobra.Command {
	return a.action("release", wire.Release, "released", "let held jobs run again",
		`Release lets held jobs run again. "skua q" says why a job is held; mend that first.`)
}

func (a *app) rmCommand() *cobra.Command {
	return a.action("rm", wire.Remove, "removed", "remove jobs for good",
		`Rm removes jobs from the queue. What they have done is lost, checkpoints included.`)
}

// action is a command that does one thing to jobs.
func (a *app) action(name string, do wire.ActionVerb, done, short, long string) *cobra.Command {
	var all bool
	var constraint, reason string
	c := &cobra.Command{
		Use:   name + " {CLUSTER | JOB}...",
		Short: short,
		Long:  long,
		Example: fmt.Sprintf(`  skua %[1]s 12                 all jobs of cluster 12
  skua %[1]s 12.3 12.5          two jobs
  skua %[1]s --constraint 'JobPrio < 0'
  skua %[1]s --all              all your jobs`, name),
		RunE: func(c *cobra.Command, args []string) error {
			sel, err := selection(args)
			if err != nil {
				return err
			}
			sel.Constraint = constraint
			switch {
			case len(args) == 0 && constraint == "" && !all:
				return usage("name a cluster (12) or a job (12.3), or say --all", "%s wants to know which jobs", name)
			case len(args) > 0 && all:
				return usage("leave one of them out", "--all together with named jobs")
			}
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			res, err := pool.Act(c.Context(), do, sel, reason)
			if err != nil {
				return err
			}
			return a.report(res, done, len(args) > 0)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all your jobs")
	c.Flags().StringVar(&constraint, "constraint", "", "only jobs for which this ClassAd expression is true")
	c.Flags().StringVar(&reason, "reason", "", "why, for the job's log")
	return c
}

// report says what was done. That nothing was done to jobs that were named is a failure.
func (a *app) report(res wire.ActionResult, done string, named bool) error {
	for _, id := range slices.Sorted(maps.Keys(res.Not)) {
		a.say("%s was not %s: %s", id, done, printable(res.Not[id]))
	}
	switch n := len(res.Done); {
	case n == 1:
		fmt.Fprintf(a.out, "Job %v %s.\n", res.Done[0], done)
	case n > 1:
		fmt.Fprintf(a.out, "%d jobs %s: %s.\n", n, done, ranges(res.Done))
	case !named || len(res.Not) == 0:
		return &diag.Problem{What: fmt.Sprintf("there is no job that could be %s", done), Hint: `"skua q" lists your jobs`}
	}
	if len(res.Not) > 0 && named {
		return &diag.Problem{What: fmt.Sprintf("%d of what you named could not be %s", len(res.Not), done)}
	}
	return nil
}
