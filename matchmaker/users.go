package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/wire"
	"skua/matchmaker/server"
)

func usersCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "users",
		Short: "list the users' shares of the pool, the best priority first",
		Long: `Lists who has how much of the pool. Users get machines in inverse proportion to their effective
priority: what they have used lately, times their factor. Less is better.

  skua-matchmaker users
  skua-matchmaker users set-factor ann 250    ann gets a larger share than with the usual 1000`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminUsers})
			if err != nil {
				return err
			}
			return printUsers(c.OutOrStdout(), a.Users)
		},
	}
	c.AddCommand(&cobra.Command{
		Use:   "set-factor NAME FACTOR",
		Short: "give a user's share another weight: a smaller factor is a larger share",
		Args:  twoArgs("the user's name and the factor"),
		RunE: func(c *cobra.Command, args []string) error {
			factor, err := strconv.ParseFloat(args[1], 64)
			if err != nil {
				return cli.FlagError(c, fmt.Errorf("%q is not a number", args[1]))
			}
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminFactor, ID: args[0], Factor: factor})
			if err != nil {
				return err
			}
			return printUsers(c.OutOrStdout(), a.Users)
		},
	})
	return c
}

func printUsers(to io.Writer, users []wire.UserRow) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tEFFECTIVE\tREAL\tFACTOR\tIN USE\tHOURS\tID")
	for _, u := range users {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\t%d\t%.1f\t%s\n", u.Name, u.Effective, u.Priority,
			strconv.FormatFloat(u.Factor, 'g', -1, 64), u.InUse, u.Hours, u.User)
	}
	return w.Flush()
}
