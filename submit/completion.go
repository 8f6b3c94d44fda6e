package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "fish", "powershell", "zsh"}
	return &cobra.Command{
		Use:   "completion {bash | fish | powershell | zsh}",
		Short: "print what a shell needs to complete commands, flags and job ids",
		Long: `Completion prints a script for your shell. With it the tab key completes commands, flags and the ids of
your jobs. Packages install it; by hand:

  bash         skua completion bash > ~/.local/share/bash-completion/completions/skua
  zsh          skua completion zsh > "${fpath[1]}/_skua"
  fish         skua completion fish > ~/.config/fish/completions/skua.fish
  powershell   skua completion powershell | Out-String | Invoke-Expression`,
		Example:   "  source <(skua completion bash)",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usage("one of bash, fish, powershell and zsh", "completion wants the name of a shell")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out)
			default:
				return root.GenZshCompletion(a.out)
			}
		},
	}
}

// completeJobs gives the user's clusters and jobs. It is silent and quick: a shell waits for it.
func (a *app) completeJobs(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	ctx, cancel := context.WithTimeout(c.Context(), time.Second)
	defer cancel()
	home, err := client.UserHome()
	if err != nil {
		return nil, none
	}
	pool, err := client.Connect(ctx, client.Connection{Home: home})
	if err != nil {
		return nil, none
	}
	defer pool.Close()
	batches, err := pool.Summary(ctx, wire.Selection{})
	if err != nil {
		return nil, none
	}
	return jobWords(batches, args), none
}

// jobWords are the words for a user's batches, without those that are on the command line.
func jobWords(batches []wire.BatchRow, given []string) []string {
	var words []string
	add := func(word, about string) {
		if !slices.Contains(given, word) {
			words = append(words, word+"\t"+printable(about))
		}
	}
	for _, b := range batches {
		about := b.Name
		if about == "" {
			about = b.Command
		}
		left := b.Running + b.Idle + b.Held + b.Suspended
		if b.First == b.Last {
			add(strconv.Itoa(b.First), fmt.Sprintf("%s, %d left", about, left))
		}
		add(b.FirstJob.String(), about)
		if b.LastJob != b.FirstJob {
			add(b.LastJob.String(), about)
		}
	}
	return words
}
