package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// errQuiet ends a command with ExitJobFailed when all has been said.
var errQuiet = errors.New("a job failed")

func flagError(c *cobra.Command, err error) error {
	return &diag.Problem{
		What: err.Error(), Code: diag.ExitUsage,
		Hint: helpHint(c),
	}
}

func helpHint(c *cobra.Command) string {
	return fmt.Sprintf("%q says what there is", c.CommandPath()+" --help")
}

func usage(hint, format string, args ...any) error {
	return &diag.Problem{What: fmt.Sprintf(format, args...), Hint: hint, Code: diag.ExitUsage}
}

func unknownCommand(root *cobra.Command, word string) error {
	var names []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	hint := diag.DidYouMean(word, names)
	if hint == "" {
		hint = `"skua --help" lists the commands`
	}
	return usage(hint, "there is no command %q", word)
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(helpHint(c), "%s takes no arguments, and got %q", c.Name(), args[0])
	}
	return nil
}

// selection reads job ids: clusters, "12", and single jobs, "12.3".
func selection(args []string) (wire.Selection, error) {
	var sel wire.Selection
	for _, arg := range args {
		if id, err := job.ParseID(arg); err == nil {
			sel.Jobs = append(sel.Jobs, id)
			continue
		}
		cluster, err := strconv.Atoi(arg)
		if err != nil || cluster < 1 {
			return sel, usage("a cluster is a number such as 12, a job of it is 12.3", "%q is neither a cluster nor a job", arg)
		}
		sel.Clusters = append(sel.Clusters, cluster)
	}
	return sel, nil
}
