package main

import (
	"time"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) runtimesCommand() *cobra.Command {
	return listing[wire.RuntimeRow]{none: "no runtime roots", rows: (*client.Client).Runtimes, show: runtimesTable}.of(a, &cobra.Command{
		Use:   "runtimes",
		Short: "show the runtime roots that the pool has",
		Long: `Runtimes lists the archives of programs and libraries that the pool has, and that jobs can have in place of
the machine's: a line runtime_root = pool:NAME in the description. A job keeps the one that the name meant when it was
submitted. An administrator adds them with "skua-matchmaker runtime add".`,
		Example: "  skua runtimes",
		Args:    cli.NoArgs,
	})
}

func runtimesTable(rows []wire.RuntimeRow) *table {
	t := newTable("RUNTIME_ROOT", "SIZE", "UNPACKED", "DIGEST", "ADDED", "BY")
	t.right[1], t.right[2] = true, true
	for _, r := range rows {
		t.add(printable(job.PoolRuntime+r.Name), amount(r.Size), amount(r.Unpacked), r.Digest.Short(), r.Added.Local().Format(time.DateOnly), printable(r.By))
	}
	return t
}
