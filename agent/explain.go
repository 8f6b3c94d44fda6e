package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skua/agent/control"
	"skua/agent/probe"
	"skua/policy"
	"skua/policy/classad"
)

// agentSays asks the agent of this machine, whose configuration has been read or could not be, how it is; nil if it
// does not answer.
func agentSays(c *cobra.Command, configFile string, cfg fileConfig, err error) *control.Status {
	path, err := controlPath(configFile, cfg, err)
	if err != nil {
		return nil // it listens to nobody, or the caller sees the mistake
	}
	ctx, stop := context.WithTimeout(c.Context(), 2*time.Second)
	defer stop()
	s, err := control.Client{Path: path}.Status(ctx)
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "skua-agent: a free slot is taken for granted, since the agent cannot be asked: %v\n", err)
		return nil
	}
	return &s
}

// explainAgent explains what the agent has said that it goes by. unread is why its configuration could not be read.
func explainAgent(c *cobra.Command, cfg fileConfig, unread error, said control.Status) error {
	p, ad, err := told(said)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	if said.Central != nil {
		if unread == nil {
			unread = explainSources(c, cfg)
		}
		if unread != nil {
			fmt.Fprintf(out, "with the central policy of the group %s, number %d, signed %s\n",
				said.Central.Group, said.Central.Number, said.Central.At.Local().Format(time.DateTime))
			fmt.Fprintf(c.ErrOrStderr(), "skua-agent: which key is from which file cannot be told here: %v\n", unread)
		}
	}
	if said.BadPolicy != "" {
		fmt.Fprintln(out, "a newer policy is not in force:", said.BadPolicy)
	}
	printExplained(out, p, ad, noJob(said))
	return nil
}

// explainSources says which key of the combined policy is from which file.
func explainSources(c *cobra.Command, cfg fileConfig) error {
	switch _, ok, err := centralHere(cfg); {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%s has no central policy", cfg.Dir)
	}
	local, err := readLocal(cfg.Policy)
	if err != nil {
		return err
	}
	_, from, err := withCentral(c, cfg, local)
	if err != nil {
		return err
	}
	return printSources(c.OutOrStdout(), from)
}

// told is the policy and the slot's ad that an agent has told.
func told(said control.Status) (*policy.Policy, *classad.Ad, error) {
	p, err := policy.Told(said.Rules)
	if err != nil {
		return nil, nil, fmt.Errorf("what the agent goes by: %w", err)
	}
	ad, err := policy.ToldAd(said.Facts)
	if err != nil {
		return nil, nil, fmt.Errorf("what the agent sees: %w", err)
	}
	return p, ad, nil
}

// noJob says why no job may come whatever the policy says; "" if nothing keeps them away.
func noJob(said control.Status) string {
	switch {
	case said.Wish.Kind != "":
		return said.Wish.String() + " (skua-agent resume)"
	case said.CannotRun != "":
		return "this machine cannot run jobs: " + said.CannotRun
	}
	return ""
}

// explain explains what a policy file comes to on this machine, whose agent has said how it is; nil if it has not.
func explain(c *cobra.Command, cfg fileConfig, said *control.Status) error {
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
	ad, err := machineNow(c.Context(), cfg, p, said)
	if err != nil {
		return err
	}
	first := ""
	if said != nil {
		first = noJob(*said)
	}
	printExplained(c.OutOrStdout(), p, ad, first)
	return nil
}

// printExplained prints each expression of the policy with its value, and what keeps it from being true. Before them
// comes why no job may come all the same.
func printExplained(w io.Writer, p *policy.Policy, ad *classad.Ad, noJob string) {
	if noJob != "" {
		fmt.Fprintln(w, "no job may come:", noJob)
	}
	for _, line := range p.Explain(ad) {
		fmt.Fprintln(w, line)
		for _, why := range line.Because {
			fmt.Fprintln(w, "             not:", why)
		}
		if len(line.If) > 0 {
			fmt.Fprintln(w, "             would be", opposite(line.Value), "if", ifs(line.If))
		}
	}
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

// machineNow is the ad of this machine as its first slot would show it at this moment under another policy. Without a
// word of the agent that slot is free, and the owner's input is what can be seen at once.
func machineNow(ctx context.Context, cfg fileConfig, p *policy.Policy, said *control.Status) (*classad.Ad, error) {
	facts, err := probe.Facts(ctx, probe.FactsConfig{Machine: cfg.Name})
	if facts == nil {
		return nil, err
	}
	now := time.Now()
	ad := p.SlotAd(facts, cfg.EvenParts())
	state, activity, since, jobsLoad := "Unclaimed", "Idle", now, 0.0
	if said != nil {
		jobsLoad = said.SkuaLoad
		if len(said.Slots) > 0 {
			state, activity, since = said.Slots[0].State, said.Slots[0].Activity, said.Slots[0].Since
		}
	}
	ad.SetString("State", state)
	ad.SetString("Activity", activity)
	ad.SetInt("EnteredCurrentActivity", since.Unix())
	policy.SetClock(ad, now)
	if load, err := probe.NewLoadMeter("").Load(ctx, 0); err == nil {
		load.Ours = jobsLoad
		load.Set(ad)
	}
	conditions, err := probe.NewConditions(cfg.ConditionsConfig())
	if err != nil {
		return nil, err
	}
	conditions.SetApps(p.WatchedApps)
	conditions.Read(ctx)
	conditions.Set(ad)
	switch {
	case cfg.Owner != nil && !*cfg.Owner:
		return ad, nil
	case said != nil && said.Idle >= 0:
		ad.SetInt("KeyboardIdle", int64(said.Idle/time.Second))
		seen, err := policy.ToldAd(said.Facts)
		if err != nil {
			return nil, err
		}
		if idle, ok := seen.Int("ConsoleIdle"); ok {
			ad.SetInt("ConsoleIdle", idle)
		}
		return ad, nil
	}
	return ad, watchNow(ctx, cfg, ad)
}

// watchNow sets how long ago the owner was seen, as far as that can be told at once.
func watchNow(ctx context.Context, cfg fileConfig, ad *classad.Ad) error {
	w, err := probe.NewWatcher(cfg.WatchConfig())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.Settle(ctx)
	now := time.Now()
	ad.SetInt("KeyboardIdle", int64(w.Idle(now)/time.Second))
	if idle, ok := w.ConsoleIdle(now); ok {
		ad.SetInt("ConsoleIdle", int64(idle/time.Second))
	}
	stop()
	<-ended
	return nil
}
