// Package cli is what the command lines of the three programs have in common: how they refuse what was typed.
//
// A refusal is a [diag.Problem] with the exit code of a wrong command line, and says where help is. The package knows
// no command, and prints nothing but help.
package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"skua/internal/diag"
)

// Help is what a command does that only has others below it.
func Help(c *cobra.Command, _ []string) error { return c.Help() }

// HelpHint says where all about a command stands.
func HelpHint(c *cobra.Command) string {
	return fmt.Sprintf("%q says what there is", c.CommandPath()+" --help")
}

// FlagError refuses a command line for the reason err.
func FlagError(c *cobra.Command, err error) error {
	return &diag.Problem{What: err.Error(), Hint: HelpHint(c), Code: diag.ExitUsage}
}

// NoArgs refuses arguments. To a command that has others below it, one is the name of a command that is not there.
func NoArgs(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case c.HasSubCommands():
		return Unknown(c, args[0])
	}
	return &diag.Problem{
		What: fmt.Sprintf("%s takes no arguments, and was given %q", c.CommandPath(), args[0]),
		Hint: HelpHint(c), Code: diag.ExitUsage,
	}
}

// Exactly refuses any other number of arguments. what names them, as in "two arguments, the user's name and the factor".
func Exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return &diag.Problem{What: fmt.Sprintf("%s wants %s", c.CommandPath(), what), Hint: HelpHint(c), Code: diag.ExitUsage}
	}
}

// Unknown refuses a word that is none of the commands below c.
func Unknown(c *cobra.Command, word string) error {
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	hint := diag.DidYouMean(word, names)
	if hint == "" {
		hint = HelpHint(c)
	}
	return &diag.Problem{What: fmt.Sprintf("there is no command %q", word), Hint: hint, Code: diag.ExitUsage}
}
