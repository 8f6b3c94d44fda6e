package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"skua/internal/job"
	"skua/internal/wire"
)

func (a *app) prioCommand() *cobra.Command {
	var m meant
	var to, by string
	var asJSON bool
	c := &cobra.Command{
		Use:   "prio {-p N | +N | -N} {CLUSTER | JOB | USER}...",
		Short: "say which of your jobs are to run first",
		Long: `Prio sets the priority of jobs among those of the same user: those with a higher number run first. New
jobs have 0, or what "priority = N" in their description says. It gives no advantage over the jobs of
others; "skua users" shows what counts there.`,
		Example: `  skua prio -p 5 12           priority 5
  skua prio +5 12.3           5 more than it has
  skua prio -5 12.3 13        5 less
  skua prio -p 10 --constraint 'RequestMemory > 8000'`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			text := to
			switch {
			case to == "" && by == "", to != "" && by != "":
				return usage(`"skua prio -p 5 12" sets it, "skua prio +5 12" raises it`, "prio wants one priority")
			case by != "":
				text = by
			}
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return usage("a priority is a whole number, such as 5 or -5", "%q is no priority", text)
			}
			expr := fmt.Sprint(n)
			if by != "" {
				expr = fmt.Sprintf("(JobPrio ?: 0) + (%d)", n)
			}
			if err := m.read("prio", args); err != nil {
				return err
			}
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			res, err := act(c.Context(), pool, wire.Prio, m, "", job.Assigned{Name: "JobPrio", Expr: expr})
			if err != nil {
				return err
			}
			if a.as != "" && len(res.Not) == 0 {
				return nil // HTCondor's says nothing
			}
			return a.report(res, "given the new priority", m, asJSON)
		},
	}
	m.flags(c)
	f := c.Flags()
	f.StringVarP(&to, "priority", "p", "", "the priority to set, `N`")
	f.StringVar(&by, "by", "", "how much to raise it, or with a minus to lower it")
	_ = f.MarkHidden("by") // it is there: what +N and -N become
	f.BoolVar(&asJSON, "json", false, "print what was done as JSON")
	return c
}
