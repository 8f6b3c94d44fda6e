package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skua/internal/diag"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "write the manual pages into a directory",
		Long:   `Man writes a manual page for each command into DIR, made of the same text as --help. Packages do so.`,
		Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("such as /usr/share/man/man1", "man wants the name of a directory")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return writeManual(c.Root(), args[0]) },
	}
}

// topics are pages of help that belong to no command.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:   "exit-codes",
			Short: "what the exit codes mean",
			Long: fmt.Sprintf(`Every command ends with one of these exit codes, which do not change:

  %d   it worked
  %d   the request was understood and did not succeed
  %d   the command line is wrong
  %d   the pool could not be reached
  %d   "skua wait", "skua submit --wait": a job ended with a non-zero status, was removed or is held
  %d   "skua-matchmaker log verify", "skua-matchmaker log dump": something is damaged

Called by a name of HTCondor, such as condor_rm, the program ends with 0 or 1, as HTCondor's does.`,
				diag.ExitOK, diag.ExitFailure, diag.ExitUsage, diag.ExitUnreachable, diag.ExitJobFailed, diag.ExitDamaged),
		},
		{
			Use:   "environment",
			Short: "environment variables that commands heed",
			Long: `  SKUA_HOME   where your membership of a pool and the courier's notes are kept; by default the directory
              skua where the system keeps settings, ~/.config/skua. Another one is another membership.
  NO_COLOR    if it is set, nothing is printed in colours
  TERM        dumb: no colours either`,
		},
		{
			Use:   "naming-jobs",
			Short: "how jobs are named on command lines",
			Long: `Each submit makes a cluster, with a number, and each of its jobs has a number in it, from 0.

  12            all jobs of cluster 12
  12.3          one job
  ann           all jobs of the user ann, for commands that act on jobs; one may act on one's own only
  --all         all your jobs
  --constraint 'RequestMemory > 4096 && JobStatus == 5'
                those for which a ClassAd expression over the job's ad is true

Long options may be written with one dash and cut short, as HTCondor's users do: -cons, -all.`,
		},
	}
}

// writeManual writes the pages of a command, of those below it and of the topics.
func writeManual(c *cobra.Command, dir string) error {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	section := "1"
	if !c.Runnable() && !c.HasSubCommands() {
		section = "7"
	}
	file := filepath.Join(dir, name+"."+section)
	if err := os.WriteFile(file, []byte(manualPage(c, name, section)), 0o644); err != nil {
		return &diag.Problem{What: "write the manual: " + err.Error(), Err: err}
	}
	for _, sub := range c.Commands() {
		if sub.Hidden || sub.Name() == "help" {
			continue
		}
		if err := writeManual(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

// manualPage is a command's help as a page for man.
func manualPage(c *cobra.Command, name, section string) string {
	c.InitDefaultHelpFlag()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %s \"\" \"skua %s\" \"Skua\"\n", strings.ToUpper(roff(name)), section, version)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(c.Short))
	if section == "1" {
		fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	}
	b.WriteString(".SH DESCRIPTION\n")
	paragraphs(&b, c.Long)
	if c.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(strings.ReplaceAll(sub.CommandPath(), " ", "-")), roff(sub.Short))
			}
		}
	}
	if c.Flags().HasAvailableFlags() && section == "1" {
		b.WriteString(".SH OPTIONS\n")
		c.Flags().VisitAll(func(f *pflag.Flag) { option(&b, f) })
	}
	if c.HasExample() {
		b.WriteString(".SH EXAMPLES\n.nf\n" + roffLines(c.Example) + ".fi\n")
	}
	b.WriteString(".SH SEE ALSO\n")
	if c.HasParent() {
		b.WriteString(".BR skua (1),\n.BR skua\\-exit\\-codes (7)\n")
	} else {
		for _, sub := range c.Commands() {
			if sub.IsAdditionalHelpTopicCommand() {
				fmt.Fprintf(&b, ".BR %s (7)\n", roff(strings.ReplaceAll(sub.CommandPath(), " ", "-")))
			}
		}
	}
	return b.String()
}

func option(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, text := pflag.UnquoteUsage(f)
	b.WriteString(".TP\n\\fB")
	if f.Shorthand != "" {
		b.WriteString(roff("-"+f.Shorthand) + "\\fR, \\fB")
	}
	b.WriteString(roff("--"+f.Name) + "\\fR")
	if value != "" {
		b.WriteString(" \\fI" + roff(value) + "\\fR")
	}
	b.WriteString("\n" + roffLines(text))
}

// paragraphs sets text: what is indented stays as it is, the rest is filled.
func paragraphs(b *strings.Builder, text string) {
	for _, part := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if strings.HasPrefix(part, " ") {
			b.WriteString(".PP\n.nf\n" + roffLines(part) + ".fi\n")
		} else {
			b.WriteString(".PP\n" + roffLines(part))
		}
	}
}

// roffLines protects lines of text.
func roffLines(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		line = roff(line)
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
}
