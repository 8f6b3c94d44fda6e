package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"skua/agent/startd"
	"skua/internal/central"
	"skua/internal/cli"
	"skua/internal/diag"
	"skua/internal/membership"
	"skua/policy"
)

func policyCommand(configFile *string) *cobra.Command {
	root := &cobra.Command{
		Use:   "policy",
		Short: "check and explain the policy of this machine",
		Long: `The policy says when jobs may run on this machine and what they get of it. It is the file that agent.toml
names, policy.toml beside it as installed; without one the preset "desktop" holds. docs/policy.md has
every key.

  skua-agent policy check policy.toml      before you put it into its place
  skua-agent policy explain                what has to hold before a job runs here, and what holds now`,
		Args: cli.NoArgs,
		RunE: cli.Help,
	}
	root.AddCommand(
		&cobra.Command{
			Use: "check FILE", Short: "read a policy file and say what is wrong with it", Args: policyFile(1),
			Long: `Check reads a policy as the agent does, and names the line of what is wrong. What is likely a mistake but may
be meant, such as an attribute that no machine has, is told and no error. Where the pool has handed this
machine a central policy, it lists each key with its value and whose it is.`,
			RunE: func(c *cobra.Command, args []string) error {
				local, err := readLocal(args[0])
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s is good\n", args[0])
				cfg, err := readConfig(*configFile)
				for _, doubt := range local.Doubts(startd.MachineAttributes(), err != nil || len(cfg.Probes) > 0) {
					fmt.Fprintf(c.ErrOrStderr(), "skua-agent: %s: %s\n", args[0], doubt)
				}
				if err != nil {
					return err
				}
				p, from, err := withCentral(c, cfg, local)
				if err == nil && p == nil {
					return nil // there is no more to it
				}
				return errors.Join(err, printSources(c.OutOrStdout(), from))
			},
		},
		&cobra.Command{
			Use: "explain [FILE]", Short: "show the derived expressions and what they say right now", Args: policyFile(0),
			Long: `Explain shows what the tables of a policy come to, START, SUSPEND and so on, what each says at this moment,
and what would change that. Without a file it explains what the agent goes by now, and with one what that
would come to on this machine. Where no agent answers, the machine's slot is taken for a free one.`,
			RunE: func(c *cobra.Command, args []string) error {
				cfg, err := readConfig(*configFile)
				said := agentSays(c, *configFile, cfg, err)
				switch {
				case len(args) == 0 && said != nil && len(said.Rules) > 0:
					return explainAgent(c, cfg, err, *said)
				case err != nil:
					return err
				case len(args) == 1:
					cfg.Policy = args[0]
				}
				return explain(c, cfg, said)
			},
		},
		testCommand(),
	)
	return root
}

// policyFile wants one file, or at least so many.
func policyFile(least int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= 1 {
			return nil
		}
		return &diag.Problem{
			What: fmt.Sprintf("%s wants one file, and was given %d", c.CommandPath(), len(args)),
			Hint: "name the policy: " + c.CommandPath() + " policy.toml",
			Code: diag.ExitUsage,
		}
	}
}

// withCentral gives what a local policy comes to with the central one that this machine keeps, and names
// that one; nil if there is none.
func withCentral(c *cobra.Command, cfg fileConfig, local policy.File) (*policy.Policy, []policy.Source, error) {
	now, ok, err := centralHere(cfg)
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "skua-agent: the central policy of this machine is left out here: %v\n", err)
	}
	if !ok {
		return nil, nil, nil
	}
	file, err := now.File()
	if err != nil {
		return nil, nil, err
	}
	p, from, err := combine(file, local)
	if err != nil {
		return nil, nil, fmt.Errorf("with the central policy %s: %w", now, err)
	}
	fmt.Fprintf(c.OutOrStdout(), "with the central policy of the group %s, number %d, signed %s:\n", now.Group, now.Number, now.At.Local().Format(time.DateTime))
	return p, from, nil
}

// centralHere gives the central policy that this machine keeps; false for none. Whoever may not read the
// agent's state gets an error with it.
func centralHere(cfg fileConfig) (now central.Policy, ok bool, err error) {
	group, follows := cfg.Follows()
	if !follows {
		return now, false, nil
	}
	m, err := membership.Open(startd.MembershipDir(cfg.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return now, false, nil // it is in no pool
	}
	if err != nil {
		return now, false, err
	}
	store, err := central.OpenStore(centralDir(cfg), group, m.Fingerprint)
	now, ok = store.Current()
	return now, ok, err
}

// printSources says for each key of a combined policy which file it is from.
func printSources(to io.Writer, from []policy.Source) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, s := range from {
		fmt.Fprintf(w, "  %s\t%s\t(%s)\n", s.Key, s.Value, s.From)
	}
	return w.Flush()
}
