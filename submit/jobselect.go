package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"skua/internal/adnames"
	"skua/internal/diag"
	"skua/internal/wire"
	"skua/policy/classad"
)

// jobChoice is which jobs q and history look at: their arguments and the flags for it.
type jobChoice struct {
	constraint string
	allUsers   bool
	submitter  string
}

func addJobChoice(c *cobra.Command) *jobChoice {
	ch := &jobChoice{}
	c.Flags().BoolVar(&ch.allUsers, "allusers", false, "the jobs of all users, not only yours")
	c.Flags().StringVar(&ch.constraint, "constraint", "", "only jobs for which the ClassAd expression `EXPR` is true")
	c.Flags().StringVar(&ch.submitter, "submitter", "", "the jobs of the user `NAME`")
	c.Flags().Lookup("submitter").Hidden = true // the name as an argument says the same
	teach(c, "allusers", habit{short: "al"})
	teach(c, "constraint", habit{short: "c"})
	for _, flag := range []string{"name", "pool"} {
		refuse(c, true, flag, "a pool has one queue, that of the pool you are a member of",
			`"skua login TOKEN" joins another pool; SKUA_HOME=DIR keeps the membership of a second one`)
	}
	return ch
}

// selection reads arguments, which are clusters, jobs and users, as HTCondor does: what any of them
// means is shown, whosever it is, and only what the constraint lets through.
func (ch *jobChoice) selection(args []string, more ...string) (wire.Selection, error) {
	var ids, users []string
	for _, arg := range args {
		if userName(arg) {
			users = append(users, arg)
		} else {
			ids = append(ids, arg)
		}
	}
	if ch.submitter != "" {
		users = append(users, ch.submitter)
	}
	sel, err := selection(ids)
	if err != nil {
		return sel, err
	}
	sel.AllUsers = ch.allUsers || len(ids)+len(users) > 0
	var all []string
	if len(users) > 0 {
		all = append(all, anyOf(sel, users))
		sel.Clusters, sel.Jobs = nil, nil
	}
	if ch.constraint != "" {
		if err := checkConstraint(ch.constraint); err != nil {
			return sel, err
		}
		all = append(all, ch.constraint)
	}
	sel.Constraint = allOf(append(all, more...))
	return sel, nil
}

// userName says whether an argument is no job id, but may be the name of a user.
func userName(arg string) bool {
	return arg != "" && (arg[0] < '0' || arg[0] > '9') && arg[0] != '-' && arg[0] != '.' && !strings.ContainsAny(arg, " \t\n\"\\")
}

// anyOf is the constraint for jobs that are selected or that one of the users owns.
func anyOf(sel wire.Selection, users []string) string {
	var parts []string
	for _, c := range sel.Clusters {
		parts = append(parts, fmt.Sprintf("ClusterId == %d", c))
	}
	for _, id := range sel.Jobs {
		parts = append(parts, fmt.Sprintf("(ClusterId == %d && ProcId == %d)", id.Cluster, id.Proc))
	}
	for _, u := range users {
		u, _, _ = strings.Cut(u, "@") // a user has one queue, and no domain
		parts = append(parts, fmt.Sprintf("Owner == %q", u))
	}
	return strings.Join(parts, " || ")
}

// allOf is the constraint for what all the parts hold of.
func allOf(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	for i, p := range parts {
		parts[i] = "(" + p + ")"
	}
	return strings.Join(parts, " && ")
}

// checkConstraint shows the place of a mistake in a constraint before anybody is asked.
func checkConstraint(text string) error {
	if _, err := classad.ParseExpr(text); err != nil {
		return mistaken("the constraint", err)
	}
	return nil
}

// doubt notes names in a constraint that are almost those of attributes, which known are.
func (a *app) doubt(constraint string, known []string) {
	if e, err := classad.ParseExpr(constraint); err == nil {
		a.notes(adnames.Doubts(e, nil, known))
	}
}

// mistaken is the problem of an expression on the command line.
func mistaken(what string, err error) error {
	err = syntaxProblem(what, err)
	var p *diag.Problem
	if errors.As(err, &p) {
		p.Code = diag.ExitUsage
		p.Hint = "put it in single quotes, and strings in it in double quotes: 'Owner == \"ann\"'"
	}
	return err
}
