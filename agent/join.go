package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"skua/agent/control"
	"skua/agent/startd"
	"skua/internal/diag"
	"skua/internal/membership"
	"skua/internal/trust"
)

func joinCommand(configFile *string) *cobra.Command {
	return &cobra.Command{
		Use:   "join TOKEN",
		Short: "add this machine to a pool",
		Long: `Join redeems a token that "skua-matchmaker token agent" made. The machine makes a key of its own,
which never leaves it. That spends the token, unless it was made with --uses N: then it lets in N
machines, until it expires. A machine that was put out of the pool comes back in the same way, with a
new token; an agent that runs is started anew then.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &diag.Problem{
					What: "join wants one token", Code: diag.ExitUsage,
					Hint: `"skua-matchmaker token agent" on the matchmaker makes one`,
				}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig(*configFile)
			if err != nil {
				return err
			}
			token, err := trust.ParseToken(args[0])
			if err != nil {
				return err
			}
			if err := keepOthersOut(cfg.Dir); err != nil {
				return err
			}
			before, _ := membership.Open(startd.MembershipDir(cfg.Dir))
			m, err := join(c.Context(), startd.MembershipDir(cfg.Dir), token, cfg.Name)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), joined(before, m, cfg.Name))
			if m.Waits {
				fmt.Fprintf(c.OutOrStdout(), "It takes part once the pool's administrator has said: skua-matchmaker approve %s\n", m.ID)
			}
			if agentRuns(c.Context(), *configFile, cfg) {
				fmt.Fprintln(c.OutOrStdout(), "The agent that runs here does not know of it yet; it does with: skua-agent service restart")
			}
			return nil
		},
	}
}

// joined says what a join has come to; before is the membership that there was, or nil.
func joined(before, now *membership.Membership, name string) string {
	if before != nil && before.Fingerprint == now.Fingerprint && before.ID == now.ID {
		return fmt.Sprintf("%s was in the pool at %s already, as agent %s", name, now.URL, now.ID)
	}
	return fmt.Sprintf("%s has joined the pool at %s as agent %s", name, now.URL, now.ID)
}

// agentRuns says whether an agent answers on this machine.
func agentRuns(ctx context.Context, configFile string, cfg fileConfig) bool {
	path, err := controlPath(configFile, cfg, nil)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = control.Client{Path: path}.Status(ctx)
	return err == nil
}

// join redeems the token and keeps the membership in dir.
func join(ctx context.Context, dir string, token trust.Token, name string) (*membership.Membership, error) {
	if token.Kind != trust.Agent {
		return nil, &diag.Problem{
			What: "this token is for a user, not for a machine",
			Hint: `the user runs "skua login TOKEN"; a token for machines is made by "skua-matchmaker token agent"`,
		}
	}
	m, err := membership.Join(ctx, dir, token, name)
	if errors.As(err, new(*fs.PathError)) { // it makes the key before it asks anybody
		return nil, startd.DirProblem(dir, err)
	}
	return m, err
}
