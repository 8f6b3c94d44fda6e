package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/central"
	"skua/internal/cli"
	"skua/internal/diag"
	"skua/matchmaker/server"
)

const policyLong = `A central policy is a policy.toml for a group of machines. It is signed with the pool's key and handed to
the machines of the group, which keep it. What a machine's own policy.toml says stricter stays so.

The files are in the directory policies beside matchmaker.toml, one for each group:

  /etc/skua/policies/lab.toml      machines whose agent.toml says group = "lab"
  /etc/skua/policies/default.toml  machines that name no group

  skua-matchmaker policy push      check, sign and hand out what has changed there
  skua-matchmaker policy list      which policies are in force
  skua status -af Machine CentralPolicy CentralPolicyNumber PolicyProblem    who has which`

func policyCommand(f *flags) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "hand policies to groups of machines",
		Long:  policyLong,
		Args:  cli.NoArgs,
		RunE:  cli.Help,
	}
	c.AddCommand(policyPushCommand(f), policyListCommand(f), &cobra.Command{
		Use:   "show GROUP",
		Short: "print the policy of a group that is in force",
		Long: `Prints the text that was pushed last, with its number and when it was signed. Machines that have not been
there since still go by an older one: skua status -af Machine CentralPolicyNumber`,
		Args: oneArg("the name of a group"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminPolicy, Group: args[0]})
			if err != nil {
				return err
			}
			for _, p := range a.Policies {
				fmt.Fprintf(c.OutOrStdout(), "# central policy %s %d, signed %s%s\n", p.Group, p.Number, p.At.Local().Format(time.DateTime), withdrawnNote(p))
				if _, err := c.OutOrStdout().Write(p.Text); err != nil {
					return err
				}
			}
			return nil
		},
	}, &cobra.Command{
		Use:   "withdraw GROUP",
		Short: "have the machines of a group go by their own policy alone",
		Long: `The withdrawal reaches machines as a push does. The file in the directory policies stays, and another push
of the group puts it in force again.`,
		Args: oneArg("the name of a group"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminWithdraw, Group: args[0]})
			if err != nil {
				return err
			}
			for _, p := range a.Policies {
				fmt.Fprintf(c.OutOrStdout(), "%s %d: the group has no central policy any more\n", p.Group, p.Number)
			}
			return nil
		},
	})
	return c
}

func withdrawnNote(p server.PolicyRow) string {
	if p.Withdrawn {
		return ", withdrawn"
	}
	return ""
}

func policyPushCommand(f *flags) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "push [GROUP]...",
		Short: "check, sign and hand out the policies of these groups, or of all that have a file",
		Long: `Reads GROUP.toml in the directory policies beside matchmaker.toml for each of the groups, or all files
there. All are checked before anything goes out: when one is no good the old ones stay in force. What has
not changed is not signed anew.

With several matchmakers give the command at any one of them.`,
		RunE: func(c *cobra.Command, groups []string) error {
			if dir == "" {
				config := f.config
				if config == "" {
					config = defaultConfig
				}
				dir = filepath.Join(filepath.Dir(config), "policies")
			}
			texts, err := readPolicies(dir, groups)
			if err != nil {
				return err
			}
			return pushPolicies(c, f, texts)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "where the files are (default: policies beside matchmaker.toml)")
	return c
}

// policyText is the file of one group.
type policyText struct {
	group string
	text  []byte
}

// readPolicies reads and checks the files of groups, or all that there are.
func readPolicies(dir string, groups []string) ([]policyText, error) {
	if len(groups) == 0 {
		files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
		if err != nil {
			return nil, fmt.Errorf("list the policies: %w", err)
		}
		for _, path := range files {
			groups = append(groups, strings.TrimSuffix(filepath.Base(path), ".toml"))
		}
		if len(groups) == 0 {
			return nil, &diag.Problem{
				What: fmt.Sprintf("there are no policies in %s", dir),
				Hint: fmt.Sprintf("write one for each group, such as %s for machines that name no group", filepath.Join(dir, central.DefaultGroup+".toml")),
			}
		}
	}
	var texts []policyText
	for _, group := range groups {
		if err := central.CheckGroup(group); err != nil {
			return nil, err
		}
		path := filepath.Join(dir, group+".toml")
		text, err := readBounded(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &diag.Problem{What: fmt.Sprintf("there is no %s", path), Hint: "the policy of a group is in a file of its name", Err: err}
		}
		if err == nil {
			_, err = central.Read(path, text)
		}
		if err != nil {
			return nil, err
		}
		texts = append(texts, policyText{group, text})
	}
	return texts, nil
}

// readBounded reads a file, and no more of it than tells that it is too long for a policy.
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, central.MaxText+1))
}

func pushPolicies(c *cobra.Command, f *flags, texts []policyText) error {
	for _, t := range texts {
		a, err := ask(c, f, server.AdminRequest{Do: server.AdminPush, Group: t.group, Text: t.text})
		if err != nil {
			return err
		}
		for _, p := range a.Policies {
			what := "has not changed"
			if p.Changed {
				what = "signed and handed out"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %d: %s\n", p.Group, p.Number, what)
		}
	}
	return nil
}

func policyListCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the central policies",
		Long:  `Lists the groups for which a policy was ever pushed: its number, when it was signed, and whether it holds.`,
		Args:  cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := ask(c, f, server.AdminRequest{Do: server.AdminPolicies})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "GROUP\tNUMBER\tSIGNED\tSTATE")
			for _, p := range a.Policies {
				state := "in force"
				if p.Withdrawn {
					state = "withdrawn"
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.Group, p.Number, p.At.Local().Format(time.DateTime), state)
			}
			return w.Flush()
		},
	}
}
