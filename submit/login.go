package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/user"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/trust"
	"skua/submit/client"
)

func (a *app) loginCommand() *cobra.Command {
	var local bool
	c := &cobra.Command{
		Use:   "login {TOKEN | --local}",
		Short: "join a pool as a user",
		Long: `Login makes you a user of the pool that a token is for. Its administrator makes one for you with
"skua-matchmaker token user". A key is made for you, which stays on this machine.

On the machine of the matchmaker no token is needed: --local asks it, and the system says who you are.
Other commands do so by themselves when you are in no pool yet.`,
		Example: `  skua login skua-user-AZ4k...
  skua login --local`,
		Args: func(_ *cobra.Command, args []string) error {
			if local == (len(args) == 1) || len(args) > 1 {
				return usage(`the pool's administrator makes a token with "skua-matchmaker token user"`, "login wants one token, or --local")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			home, err := client.UserHome()
			if err != nil {
				return err
			}
			var m *membership.Membership
			if local {
				m, err = loginLocal(c.Context(), home)
			} else {
				m, err = loginToken(c.Context(), home, args[0])
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "You are %s in the pool at %s.\n", m.Name, m.URL)
			return nil
		},
	}
	c.Flags().BoolVar(&local, "local", false, "ask the matchmaker on this machine")
	return c
}

func loginToken(ctx context.Context, home client.Home, text string) (*membership.Membership, error) {
	token, err := trust.ParseToken(text)
	if err != nil {
		return nil, err
	}
	if token.Kind != trust.User {
		return nil, &diag.Problem{
			What: "this token is for a machine, not for a user",
			Hint: `on the machine run "skua-agent join TOKEN"; a token for you is made by "skua-matchmaker token user"`,
		}
	}
	name := token.Name
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	return membership.Join(ctx, home.Member(), token, name)
}

func loginLocal(ctx context.Context, home client.Home) (*membership.Membership, error) {
	m, err := client.LoginLocal(ctx, home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &diag.Problem{
			What: "no matchmaker is running on this machine",
			Hint: `"skua up" starts a pool of your own; for another machine's pool use "skua login TOKEN"`,
			Err:  err, Code: diag.ExitUnreachable,
		}
	}
	return m, err
}
