// Package cli is what the command lines of the three programs have in common: how they refuse what was typed.
//
// A refusal is a [diag.Problem] with the exit code of a wrong command line, and says where help is. The package knows
// no command, and prints nothing but help.
package cli

import (
	"fmt"
	"regexp"
	"slices"

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
	return &diag.Problem{What: plain(err.Error()), Hint: HelpHint(c), Code: diag.ExitUsage}
}

var (
	badNumber = regexp.MustCompile(`strconv\.Parse(Int|Uint|Float): parsing ("(?:[^"\\]|\\.)*"): (invalid syntax|value out of range)$`)
	kinds     = map[string]string{"Int": "a whole number", "Uint": "a whole number from 0 on", "Float": "a number"}
)

// plain says of a value that is no number what it is to be, where the flags' package names the function that reads it.
func plain(what string) string {
	m := badNumber.FindStringSubmatchIndex(what)
	if m == nil {
		return what
	}
	not := " is not " + kinds[what[m[2]:m[3]]]
	if what[m[6]:m[7]] != "invalid syntax" {
		not = " is too large"
	}
	return what[:m[0]] + what[m[4]:m[5]] + not
}

// StrictHelp has "help" refuse the name of a command that is not there. It is called when the others are below root.
func StrictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		show := help.Run
		help.Run, help.RunE = nil, func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			switch {
			case err != nil:
				return FlagError(c.Root(), err)
			case len(rest) > 0 && found.HasSubCommands():
				return Unknown(found, rest[0])
			}
			show(c, args)
			return nil
		}
	}
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

// Unknown refuses a word that is none of the commands below c. The one that is meant it finds among commands further down, and
// among the words of other systems that [cobra.Command.SuggestFor] has.
func Unknown(c *cobra.Command, word string) error {
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	hint := diag.DidYouMean(word, names)
	if meant := meantBy(c, word); meant != nil {
		hint = fmt.Sprintf("did you mean %q?", meant.CommandPath())
	}
	if hint == "" {
		hint = HelpHint(c)
	}
	return &diag.Problem{What: fmt.Sprintf("there is no command %q", word), Hint: hint, Code: diag.ExitUsage}
}

// meantBy gives the command at or below those of c that is called by this word elsewhere, or further down; nil if there is none.
func meantBy(c *cobra.Command, word string) *cobra.Command {
	for _, sub := range c.Commands() {
		switch {
		case sub.Hidden:
		case sub.Name() == word || slices.Contains(sub.SuggestFor, word):
			return sub
		default:
			if meant := meantBy(sub, word); meant != nil {
				return meant
			}
		}
	}
	return nil
}
