package main

import (
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/quantity"
	"skua/internal/trust"
	"skua/matchmaker/server"
)

const (
	adminApprove = server.AdminApprove
	adminRevoke  = server.AdminRevoke
)

// defaultTTL is how long a token is good for.
const defaultTTL = "24h"

func tokenCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "make a token with which machines or users join the pool",
		Long: `A token is one word with which a machine or a person joins: it has this matchmaker's address, the
fingerprint of the pool's authority and a secret in it. Whoever has it can use it until it is used up or
has expired, so give it to nobody else. It is printed once; the matchmaker keeps only its hash.

  skua-matchmaker token agent --uses 40 --ttl 7d    forty machines, within a week: skua-agent join TOKEN
  skua-matchmaker token user ann                    ann, within a day: skua login TOKEN`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	c.AddCommand(tokenFor(f, trust.Agent), tokenFor(f, trust.User))
	return c
}

func tokenFor(f *flags, kind trust.Kind) *cobra.Command {
	var ttl, url string
	var pending bool
	spec := trust.TokenSpec{Kind: kind}
	c := &cobra.Command{
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := strconv.ParseFloat(ttl, 64); err == nil {
				return cli.FlagError(c, fmt.Errorf(`--ttl %s has no unit: write "%sd" for days or "%sh" for hours`, ttl, ttl, ttl))
			}
			d, err := quantity.ParseDuration(ttl)
			if err != nil {
				return cli.FlagError(c, fmt.Errorf("--ttl: %w", err))
			}
			if spec.Uses < 1 {
				return cli.FlagError(c, fmt.Errorf("--uses %d: a token is for one or more", spec.Uses))
			}
			spec.TTL, spec.Approve = time.Duration(d), !pending
			if kind == trust.User {
				spec.Name = args[0]
			}
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminToken, Token: spec, URL: url})
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), a.Token)
			if t, err := trust.ParseToken(a.Token); err == nil {
				fmt.Fprintln(c.ErrOrStderr(), "skua-matchmaker:", use(t, spec.Uses))
			}
			return nil
		},
	}
	if kind == trust.Agent {
		c.Use, c.Short, c.Args = "agent", `make a token for "skua-agent join"`, cli.NoArgs
		c.Long = `Prints a token for one machine, or with --uses for several. On each of them:

  skua-agent join TOKEN`
		c.Example = `  skua-matchmaker token agent
  skua-matchmaker token agent --uses 40 --ttl 7d
  skua-matchmaker token agent --url https://head.example.edu:9618    if machines know this one by another name`
	} else {
		c.Use, c.Short, c.Args = "user NAME", `make a token for "skua login"`, oneArg("the user's name")
		c.Long = `Prints a token for a user of that name, which the user's jobs have as Owner. On each machine from which
the user submits, while the token has uses left:

  skua login TOKEN`
		c.Example = `  skua-matchmaker token user ann
  skua-matchmaker token user ann --uses 2    for her desktop and her laptop`
	}
	c.Flags().BoolVar(&pending, "pending", false, `whoever joins with it may do nothing until "skua-matchmaker approve ID"`)
	c.Flags().StringVar(&ttl, "ttl", defaultTTL, "how long the token is good for")
	c.Flags().IntVar(&spec.Uses, "uses", 1, "how many may join with it")
	c.Flags().StringVar(&url, "url", "", "where they reach this matchmaker, such as https://head.example.edu:9618")
	return c
}

// use says what to do with a token that so many may use, and until when.
func use(t trust.Token, uses int) string {
	until := "until " + t.Expires.Local().Format("2 Jan 2006 15:04")
	switch {
	case t.Kind == trust.User && uses > 1:
		return fmt.Sprintf("for %s on %d machines, %s; on each: skua login TOKEN", t.Name, uses, until)
	case t.Kind == trust.User:
		return fmt.Sprintf("for %s, once, %s: skua login TOKEN", t.Name, until)
	case uses > 1:
		return fmt.Sprintf("for %d machines, %s; on each: sudo skua-agent join TOKEN", uses, until)
	}
	return fmt.Sprintf("for one machine, %s: sudo skua-agent join TOKEN", until)
}

func membersCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "list the machines and users of the pool",
		Long: `Lists all that have joined, each with the id by which "skua-matchmaker revoke" knows it. What machines do
at this moment, "skua status" shows.`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminMembers})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KIND\tNAME\tID\tSINCE\tSTATE")
			for _, m := range a.Members {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Kind, m.Name, m.ID, m.Since.Local().Format(time.DateTime), standing(m))
			}
			return w.Flush()
		},
	}
}

// memberCommand does something to one member.
func memberCommand(f *flags, name, short, long string, do server.AdminVerb) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Long:  long,
		Args:  oneArg("the member's id"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: do, ID: args[0]})
			if err != nil {
				return err
			}
			said := map[string]bool{} // a user may have many keys
			for _, m := range a.Members {
				line := fmt.Sprintf("%s %s is %s", m.Kind, m.Name, standing(m))
				if !said[line] {
					fmt.Fprintln(c.OutOrStdout(), line)
				}
				said[line] = true
			}
			if a.Left > 0 {
				fmt.Fprintf(c.ErrOrStderr(), "skua-matchmaker: jobs that it has not given back: %d; they run again elsewhere when their leases are over\n", a.Left)
			}
			return nil
		},
	}
}

func standing(m trust.Member) string {
	switch {
	case m.Revoked:
		return "revoked"
	case m.Approved:
		return "approved"
	}
	return "waiting for approval"
}

// ask puts a question to the matchmaker that runs.
func ask(c *cobra.Command, f *flags, q server.AdminRequest) (server.AdminAnswer, error) {
	cfg, err := readConfig(*f)
	if err != nil {
		return server.AdminAnswer{}, err
	}
	return server.Admin(c.Context(), cfg.Data, q)
}

func oneArg(what string) cobra.PositionalArgs { return cli.Exactly(1, "one argument, "+what) }

func twoArgs(what string) cobra.PositionalArgs { return cli.Exactly(2, "two arguments, "+what) }
