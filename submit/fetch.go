package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

func (a *app) fetchCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "fetch {CLUSTER | JOB}...",
		Short: "bring the outputs of completed jobs",
		Long: `Fetch brings outputs to where the job description wants them, or with --dir anywhere. On the machine
where you submitted, the courier does so by itself; fetch is for other machines, and for when the
courier could not.`,
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
				if err := os.MkdirAll(dir, 0o777); err != nil {
					return err
				}
			}
			pool, home, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			rows, err := pool.History(c.Context(), sel, 0)
			if err != nil {
				return err
			}
			host, err := home.HostID()
			if err != nil {
				return err
			}
			fetched := 0
			for _, r := range rows {
				if stateOf(r.Ad) != job.Completed {
					continue
				}
				fetched++
				files, err := pool.Fetch(c.Context(), r.ID, dir, a.progress("fetching"))
				for _, f := range files {
					fmt.Fprintln(a.out, f)
				}
				if err != nil {
					return err
				}
				// Brought to their place, they need no courier any more.
				if at, _ := r.Ad.Str("SkuaSubmitHost"); dir == "" && at == host {
					if _, err := pool.Act(c.Context(), wire.Deliver, wire.Selection{Jobs: []job.ID{r.ID}}, ""); err != nil {
						return err
					}
				}
			}
			if fetched == 0 {
				return &diag.Problem{What: "none of these jobs has completed", Hint: `"skua q" and "skua history" say how they are`}
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "bring them into this directory")
	return c
}
