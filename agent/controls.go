package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skua/agent/control"
	"skua/agent/startd"
	"skua/internal/cli"
	"skua/internal/diag"
	"skua/internal/quantity"
)

// controlCommands are what the person at the machine may say to its agent.
func controlCommands(configFile *string) []*cobra.Command {
	agent := func() (control.Client, error) {
		cfg, err := readConfig(*configFile)
		path, err := controlPath(*configFile, cfg, err)
		return control.Client{Path: path}, err
	}
	return []*cobra.Command{
		statusCommand(agent),
		wishCommand(agent, control.Pause, "pause [DURATION]", "keep jobs off this machine for a while",
			`Jobs that run here are frozen at once, leave with a checkpoint if the pause is long, and go on
elsewhere. Nothing starts until the pause is over, which "skua-agent status" shows. Without a duration
it is an hour.

  skua-agent pause 2h

The person at the screen and keyboard may do this for as long as the machine's policy grants
(owner.may_pause), an administrator for any time.`),
		wishCommand(agent, control.Finish, "finish [DURATION]", "let running jobs end, and no further ones come",
			`What runs here goes on to its end, out of your way as ever, and nothing new starts until the time is
over. Use it before you shut the machine down: no work is lost then.`),
		wishCommand(agent, control.Resume, "resume", "end a pause, or what finish has begun",
			`Jobs come again as the policy lets them: while you are at work, that is as it was before, later.`),
		ranCommand(agent),
	}
}

// controlPath is where the agent listens whose configuration has been read, or could not be.
func controlPath(configFile string, cfg fileConfig, err error) (string, error) {
	switch {
	case configFile == "" && errors.Is(err, fs.ErrPermission):
		// An administrator may close the file, for a token that is in it. The owner is heard all the same.
		return controlOf(defaultDir), nil
	case err == nil && cfg.Control == startd.NoControl:
		return "", &diag.Problem{
			What: "the agent of this machine listens to nobody",
			Hint: `control = "none" in agent.toml says so; without it the person at the machine is heard`,
		}
	}
	return cfg.Control, err
}

func statusCommand(agent func() (control.Client, error)) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "say what the agent does at this moment", Args: cli.NoArgs,
		Long: `Status says whether a job runs on this machine, whose it is, and why it stands still if it does; when the
owner was last seen, whether the pool is reached, and which policy holds. Everybody on the machine may
ask. For how long jobs may be kept away, and how, stands at its end.`,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := agent()
			if err != nil {
				return err
			}
			s, err := client.Status(c.Context())
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(c.OutOrStdout(), s)
			}
			printStatus(c.OutOrStdout(), s, time.Now())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it for programs")
	return c
}

func wishCommand(agent func() (control.Client, error), kind control.Kind, use, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSpace(short + ".\n\n" + long),
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case kind == control.Resume:
				return cli.NoArgs(c, args)
			case len(args) > 1:
				return &diag.Problem{
					What: fmt.Sprintf("%s takes one duration, and was given %d", c.CommandPath(), len(args)),
					Hint: `write for example "30m" or "2h"`, Code: diag.ExitUsage,
				}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ask := control.Ask{Kind: kind}
			if len(args) == 1 {
				d, err := quantity.ParseDuration(args[0])
				if err != nil || d <= 0 {
					return &diag.Problem{
						What: fmt.Sprintf("%q is no duration", args[0]), Hint: `write for example "30m" or "2h"`, Code: diag.ExitUsage,
					}
				}
				ask.For = d.Std()
			}
			client, err := agent()
			if err != nil {
				return err
			}
			s, err := client.Wish(c.Context(), ask)
			if err != nil {
				return err
			}
			printStatus(c.OutOrStdout(), s, time.Now())
			return nil
		},
	}
}

func ranCommand(agent func() (control.Client, error)) *cobra.Command {
	var asJSON bool
	var last int
	c := &cobra.Command{
		Use: "log", Short: "list what ran on this machine, when, and for whom", Args: cli.NoArgs,
		Long: `Log lists the jobs that were here, the newest last: whose they were, how long they stayed, what they used
of the processor and memory, and how it ended. The person at the machine and administrators may ask.`,
		Example: `  skua-agent log
  skua-agent log -n 0 --json    all that are kept, for programs`,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := agent()
			if err != nil {
				return err
			}
			list, err := client.Ran(c.Context())
			if err != nil {
				return err
			}
			if last > 0 && len(list) > last {
				list = list[len(list)-last:]
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), append([]control.Ran{}, list...))
			}
			printRan(c.OutOrStdout(), list)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it for programs")
	c.Flags().IntVarP(&last, "last", "n", 20, "how many, the newest; 0 means all that are kept")
	return c
}

func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}
