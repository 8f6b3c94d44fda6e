package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"skua/agent/probe"
)

func policyCommand(configFile *string) *cobra.Command {
	root := &cobra.Command{
		Use:   "policy",
		Short: "check and explain the policy of this machine",
		Args:  cobra.NoArgs,
	}
	root.AddCommand(
		&cobra.Command{
			Use: "check FILE", Short: "read a policy file and say what is wrong with it", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				if _, err := readPolicy(args[0]); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s is good\n", args[0])
				return nil
			},
		},
		&cobra.Command{
			Use: "explain [FILE]", Short: "show the derived expressions and what they say right now", Args: cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				cfg, err := readConfig(*configFile)
				if err != nil {
					return err
				}
				if len(args) == 1 {
					cfg.Policy = args[0]
				}
				p, err := readPolicy(cfg.Policy)
				if err != nil {
					return err
				}
				facts, err := probe.Facts(c.Context(), probe.FactsConfig{Machine: cfg.Name})
				if facts == nil {
					return err
				}
				for _, line := range p.Explain(facts) {
					fmt.Fprintln(c.OutOrStdout(), line)
					for _, why := range line.Because {
						fmt.Fprintln(c.OutOrStdout(), "             not:", why)
					}
				}
				return nil
			},
		},
	)
	return root
}
