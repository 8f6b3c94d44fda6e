package main

import (
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/trust"
	"skua/matchmaker/server"
)

func headsCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "heads",
		Short: "list the matchmakers of the pool, and which one leads",
		Long: `A pool may have several matchmakers on a NATS cluster: one leads, the others stand by and take over
within seconds. This asks the one on this machine. docs/operations.md says how such a pool is set up.`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminHeads})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "URL\tROLE")
			for _, h := range a.Heads {
				role := "stands by"
				if h.Leads {
					role = "leads"
				}
				if h.Here {
					role += " (this one)"
				}
				fmt.Fprintf(w, "%s\t%s\n", h.URL, role)
			}
			return w.Flush()
		},
	}
}

func keysCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "bring the pool's keys to a second matchmaker",
		Long: `All matchmakers of a pool have the same keys. The first one has made them; they are brought to another
one before that is started for the first time:

  skua-matchmaker keys export | ssh head2 sudo skua-matchmaker keys import

Whoever has the keys can be the pool's matchmaker: leave no copy behind.`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	c.AddCommand(&cobra.Command{
		Use:   "export",
		Short: "write the keys of this matchmaker to standard output",
		Args:  cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(*f)
			if err != nil {
				return err
			}
			text, err := trust.ExportKeys(filepath.Join(cfg.Data, "trust"))
			if err == nil {
				_, err = c.OutOrStdout().Write(text)
			}
			return err
		},
	}, &cobra.Command{
		Use:   "import",
		Short: "read keys from standard input, for a matchmaker that has none yet",
		Args:  cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(*f)
			if err != nil {
				return err
			}
			text, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 1<<20))
			if err != nil {
				return err
			}
			if err := server.ImportKeys(cfg.Data, text); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "the keys are in place")
			return nil
		},
	})
	return c
}
