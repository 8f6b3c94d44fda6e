package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"skua/agent/control"
	"skua/agent/probe"
	"skua/agent/startd"
	"skua/internal/central"
	"skua/internal/cli"
	"skua/internal/diag"
	"skua/internal/membership"
	"skua/policy"
	"skua/policy/classad"
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
			Long: `Check reads a policy as the agent does, and names the line of what is wrong. Where the pool has handed this
machine a central policy, it lists each key with its value and whose it is.`,
			RunE: func(c *cobra.Command, args []string) error {
				local, err := readLocal(args[0])
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s is good\n", args[0])
				cfg, err := readConfig(*configFile)
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
and what would change that. Without a file it explains the one that the agent has.`,
			RunE: func(c *cobra.Command, args []string) error {
				cfg, err := readConfig(*configFile)
				if err != nil {
					return err
				}
				if len(args) == 1 {
					cfg.Policy = args[0]
				}
				return explain(c, cfg)
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

// explain prints each expression of the policy with its value now, and what keeps it from being true.
func explain(c *cobra.Command, cfg fileConfig) error {
	local, err := readLocal(cfg.Policy)
	if err != nil {
		return err
	}
	p, from, err := withCentral(c, cfg, local)
	if err == nil && p != nil {
		err = printSources(c.OutOrStdout(), from)
	}
	if err == nil && p == nil {
		p, err = policy.Derive(local)
	}
	if err != nil {
		return err
	}
	ad, err := machineNow(c.Context(), cfg, p)
	if err != nil {
		return err
	}
	for _, line := range p.Explain(ad) {
		fmt.Fprintln(c.OutOrStdout(), line)
		for _, why := range line.Because {
			fmt.Fprintln(c.OutOrStdout(), "             not:", why)
		}
		if len(line.If) > 0 {
			fmt.Fprintln(c.OutOrStdout(), "             would be", opposite(line.Value), "if", ifs(line.If))
		}
	}
	return nil
}

// opposite is what an expression would say that says v now.
func opposite(v classad.Value) string {
	if v.IsTrue() {
		return "false"
	}
	return "true"
}

// ifs joins changes: "KeyboardIdle were 901, not 12".
func ifs(changes []policy.Change) string {
	var texts []string
	for _, c := range changes {
		texts = append(texts, c.String())
	}
	return strings.Join(texts, ", and ")
}

// jobsLoad is the part of the load that is the jobs' of this machine's agent, which knows it; 0 if that does not answer.
func jobsLoad(ctx context.Context, cfg fileConfig) float64 {
	if cfg.Control == startd.NoControl {
		return 0
	}
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	s, err := control.Client{Path: cfg.Control}.Status(ctx)
	if err != nil {
		return 0
	}
	return s.SkuaLoad
}

// machineNow is the ad of this machine as a free slot would show it at this moment.
func machineNow(ctx context.Context, cfg fileConfig, p *policy.Policy) (*classad.Ad, error) {
	facts, err := probe.Facts(ctx, probe.FactsConfig{Machine: cfg.Name})
	if facts == nil {
		return nil, err
	}
	now := time.Now()
	ad := p.SlotAd(facts, cfg.EvenParts())
	ad.SetString("State", "Unclaimed")
	ad.SetString("Activity", "Idle")
	ad.SetInt("EnteredCurrentActivity", now.Unix())
	policy.SetClock(ad, now)
	if load, err := probe.NewLoadMeter("").Load(ctx, 0); err == nil {
		load.Ours = jobsLoad(ctx, cfg)
		load.Set(ad)
	}
	conditions, err := probe.NewConditions(cfg.ConditionsConfig())
	if err != nil {
		return nil, err
	}
	conditions.SetApps(p.WatchedApps)
	conditions.Read(ctx)
	conditions.Set(ad)
	if cfg.Owner != nil && !*cfg.Owner {
		return ad, nil
	}
	w, err := probe.NewWatcher(cfg.WatchConfig())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.Settle(ctx)
	now = time.Now()
	ad.SetInt("KeyboardIdle", int64(w.Idle(now)/time.Second))
	if idle, ok := w.ConsoleIdle(now); ok {
		ad.SetInt("ConsoleIdle", int64(idle/time.Second))
	}
	stop()
	<-ended
	return ad, nil
}
