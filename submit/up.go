package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"skua/internal/cli"
)

func (a *app) upCommand() *cobra.Command {
	var (
		slots                  int
		partitionable, verbose bool
		policyFile             string
	)
	c := &cobra.Command{
		Use:   "up",
		Short: "run a pool of your own on this machine",
		Long: `Up runs a whole pool for you alone, a matchmaker and an agent on this machine, until you press ctrl-C.
It listens on 127.0.0.1 only and needs no root. What it cannot do without root it says. Jobs that are
queued when it ends are there when it comes up again.

Jobs run at once, since the machine is yours and so are they. With --policy the machine treats you as
its owner, as it would in a pool of others.

The machine is divided into slots of one size, each for one job at a time. With --partitionable it is one
slot, of which each job takes the processors, memory and disk that it asks for, as long as there is enough
left: so one job can have the whole machine, or many small ones share it.`,
		Example: `  skua up
  skua up --slots 2
  skua up --partitionable
  skua up --policy desktop.toml`,
		Args: cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if slots < 0 {
				return usage("1 or more", "--slots %d", slots)
			}
			program, err := beside("skua-up")
			if err != nil {
				return err
			}
			return become(program, fmt.Sprintf("--slots=%d", slots), fmt.Sprintf("--partitionable=%t", partitionable), "--policy="+policyFile,
				fmt.Sprintf("--verbose=%t", verbose))
		},
	}
	c.Flags().IntVar(&slots, "slots", 0, "how many jobs may run at a time (default: one for each processor)")
	c.Flags().BoolVar(&partitionable, "partitionable", false, "give each job what it asks for, rather than one of the slots of equal size")
	c.Flags().StringVar(&policyFile, "policy", "", "policy of the machine, a file as skua-agent reads it")
	c.Flags().BoolVar(&verbose, "verbose", false, "show what the matchmaker and the agent log")
	return c
}
