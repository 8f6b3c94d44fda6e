package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/job"
	"skua/internal/wire"
)

func (a *app) runtimesCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "runtimes",
		Short: "show the runtime roots that the pool has",
		Long: `Runtimes lists the archives of programs and libraries that the pool has, and that jobs can have in place of
the machine's: a line runtime_root = pool:NAME in the description. A job keeps the one that the name meant when it was
submitted. An administrator adds them with "skua-matchmaker runtime add".`,
		Example: "  skua runtimes",
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			rows, err := pool.Runtimes(c.Context())
			switch {
			case err != nil:
				return err
			case asJSON:
				return json.NewEncoder(a.out).Encode(append([]wire.RuntimeRow{}, rows...))
			case len(rows) == 0:
				fmt.Fprintln(a.out, "no runtime roots")
				return nil
			}
			t := newTable("RUNTIME_ROOT", "SIZE", "UNPACKED", "DIGEST", "ADDED", "BY")
			t.right[1], t.right[2] = true, true
			for _, r := range rows {
				t.add(printable(job.PoolRuntime+r.Name), amount(r.Size), amount(r.Unpacked), r.Digest.Short(), r.Added.Local().Format(time.DateOnly), printable(r.By))
			}
			return t.write(a.out)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return c
}
