package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

func (a *app) historyCommand() *cobra.Command {
	var asJSON, long, allUsers bool
	var constraint string
	var limit int
	c := &cobra.Command{
		Use:   "history [CLUSTER | JOB]...",
		Short: "show jobs that have ended, and how",
		Long: `History lists jobs that have completed (C) or were removed (X), the last one first, with their exit code
or the signal that ended them.`,
		Example: `  skua history
  skua history 12
  skua history --constraint 'ExitCode != 0'`,
		RunE: func(c *cobra.Command, args []string) error {
			sel, err := selection(args)
			if err != nil {
				return err
			}
			if limit < 0 {
				return usage("0 means all", "--limit %d", limit)
			}
			sel.Constraint, sel.AllUsers = constraint, allUsers
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			rows, err := pool.History(c.Context(), sel, limit)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return a.printJSON(adsOf(rows))
			case long:
				a.printLong(adsOf(rows))
			default:
				a.printHistory(rows)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the jobs' ads as JSON")
	c.Flags().BoolVarP(&long, "long", "l", false, "print the jobs' ads")
	c.Flags().BoolVar(&allUsers, "allusers", false, "show the jobs of all users")
	c.Flags().IntVar(&limit, "limit", 0, "show at most this many; 0 means all")
	c.Flags().StringVar(&constraint, "constraint", "", "only jobs for which this ClassAd expression is true")
	return c
}

func (a *app) printHistory(rows []wire.JobRow) {
	t := newTable("ID", "OWNER", "SUBMITTED", "RUN_TIME", "ST", "COMPLETED", "EXIT", "CMD")
	t.right[0], t.right[3] = true, true
	for _, r := range rows {
		ended, _ := r.Ad.Int("CompletionDate")
		t.add(r.ID.String(), owner(r.Ad), submittedAt(r.Ad), span(runTime(r.Ad, time.Time{})),
			letters[stateOf(r.Ad)], moment(ended), exitOf(r.Ad), command(r.Ad))
	}
	t.write(a.out)
}

// exitOf says how a job ended, in a word.
func exitOf(ad *classad.Ad) string {
	if stateOf(ad) == job.Removed {
		return "removed"
	}
	if n, ok := ad.Int("ExitSignal"); ok {
		return fmt.Sprintf("signal %d", n)
	}
	if n, ok := ad.Int("ExitCode"); ok {
		return fmt.Sprint(n)
	}
	return ""
}
