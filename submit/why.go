package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/why"
	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) whyCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "why [CLUSTER | JOB]...",
		Short: "tell why a job does not run, and what would help",
		Long: `Why says in one sentence why a job waits, is held or stands still, and below it all that the matchmaker
knows about it: what each part of the requirements rejects, with counts; owners and opening hours;
the user's place among the users; limits; why it last stopped running. What it proposes to change has
been tried against the machines that are there.

Of a cluster, and without arguments of all your jobs, that one is explained which needs it most: a held
one, or else the first that no machine could run, or that waits.`,
		Example: `  skua why 12.3
  skua why 12
  skua why --json 12.3`,
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := selection(args); err != nil {
				return err
			}
			if len(args) == 0 {
				args = []string{""} // any
			}
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			for i, arg := range args {
				if i > 0 && !asJSON {
					fmt.Fprintln(a.out)
				}
				if err := a.explain(c.Context(), pool, arg, asJSON); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the explanation as JSON, one object for each job")
	return c
}

// explain explains one job.
func (a *app) explain(ctx context.Context, pool *client.Client, arg string, asJSON bool) error {
	which := wire.Needy{}
	var err error
	if which.Job, err = job.ParseID(arg); err != nil {
		if which, err = neediest(ctx, pool, arg); err != nil {
			return err
		}
	}
	e, err := pool.Why(ctx, which.Job)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(a.out).Encode(e)
	}
	a.printExplanation(e)
	if which.Others > 0 {
		do := "do"
		if which.Others == 1 {
			do = "does"
		}
		fmt.Fprintf(a.out, "\n%d more %s not run: %s\n", which.Others, do, strings.TrimSpace("skua q "+arg))
	}
	return nil
}

// neediest finds the job of a cluster, or of all, that is in most need of an explanation.
func neediest(ctx context.Context, pool *client.Client, cluster string) (wire.Needy, error) {
	var sel wire.Selection
	if cluster != "" {
		var err error
		if sel, err = selection([]string{cluster}); err != nil {
			return wire.Needy{}, err
		}
	}
	which, err := pool.Needy(ctx, sel)
	if err != nil && diag.ExitCode(err) != diag.ExitUnreachable { // an older matchmaker does not know which
		which.Job, err = firstStuck(ctx, pool, sel)
	}
	switch {
	case err != nil || which.Job != (job.ID{}):
		return which, err
	case cluster != "":
		return which, &diag.Problem{What: fmt.Sprintf("cluster %s has no job in the queue", cluster), Hint: fmt.Sprintf(`"skua history %s" says how its jobs have ended`, cluster)}
	}
	return which, &diag.Problem{What: "you have no jobs in the queue", Hint: `"skua history" lists those that have ended`}
}

// firstStuck finds the first job that is held, or else waits, is suspended, or is there at all.
func firstStuck(ctx context.Context, pool *client.Client, sel wire.Selection) (job.ID, error) {
	for _, state := range []job.State{job.Held, job.Idle, job.Suspended, 0} {
		if sel.Constraint = ""; state != 0 {
			sel.Constraint = fmt.Sprintf("JobStatus == %d", state)
		}
		var id job.ID
		err := pool.Columns(ctx, wire.QueryJobs, sel, []string{"ClusterId", "ProcId"}, 1, func(values []string) error {
			var err error
			id, err = job.ParseID(values[0] + "." + values[1])
			return errors.Join(err, client.ErrEnough)
		})
		if err != nil && !errors.Is(err, client.ErrEnough) {
			return job.ID{}, err
		}
		if id != (job.ID{}) {
			return id, nil
		}
	}
	return job.ID{}, nil
}

func (a *app) printExplanation(e *why.Explanation) {
	width := terminalWidth(a.out)
	head := printable(e.Sentence(time.Local))
	if a.colours() {
		head = stateColour(e.State) + head + plain
	}
	for _, line := range fold(e.Job+": "+head, width, 2) {
		fmt.Fprintln(a.out, line)
	}
	details := e.Details(time.Local)
	if len(details) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, d := range details {
		d = "  " + printable(d)
		for _, line := range fold(d, width, leading(d)+2) {
			fmt.Fprintln(a.out, line)
		}
	}
}

func stateColour(state string) string {
	switch state {
	case job.Held.String(), job.Removed.String():
		return red
	case job.Running.String(), job.Completed.String():
		return green
	}
	return yellow
}

// leading is how far a line is indented, counts in front of it included.
func leading(line string) int {
	rest := strings.TrimLeft(line, " ")
	words := strings.TrimLeft(rest, "0123456789")
	if rest != words && strings.HasPrefix(words, " ") {
		rest = words[1:]
	}
	return len(line) - len(rest)
}

// fold breaks a line at blanks so that it fits into width characters, with the lines after the first
// indented. Width 0 leaves it whole.
func fold(line string, width, indent int) []string {
	const narrow = 20 // what is narrower cannot be read anyhow
	if width < narrow || utf8.RuneCountInString(visible(line)) < width {
		return []string{line}
	}
	var lines []string
	current, pad := "", ""
	for i, word := range strings.SplitAfter(line, " ") {
		if i > 0 && utf8.RuneCountInString(visible(current+strings.TrimRight(word, " "))) >= width && strings.TrimSpace(current) != "" {
			lines = append(lines, strings.TrimRight(current, " "))
			pad = strings.Repeat(" ", indent)
			current = pad
		}
		current += word
	}
	return append(lines, strings.TrimRight(current, " "))
}

// visible is what a terminal shows of a text with colours.
func visible(s string) string {
	for _, c := range []string{red, green, yellow, plain} {
		s = strings.ReplaceAll(s, c, "")
	}
	return s
}

// colours says whether results are printed in colours.
func (a *app) colours() bool {
	return terminalWidth(a.out) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
