package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"skua/internal/adnames"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/submit/client"
)

// deed is something that a command does to jobs.
type deed struct {
	name string // of the command
	do   wire.ActionVerb
	done string // "Job 12.3 held."

	past string                 // in HTCondor's words, "Job 12.3 marked for removal"
	verb string                 // and "Couldn't find/remove all jobs"
	not  func(job.State) string // why it cannot be done to a job in that state
}

// The deeds. HTCondor says why not in these words, which its users' scripts look for.
var (
	hold = deed{"hold", wire.HoldJob, "held", "held", "hold", func(job.State) string {
		return "already held"
	}}
	release = deed{"release", wire.Release, "released", "released", "release", func(job.State) string {
		return "not held to be released"
	}}
	rm = deed{"rm", wire.Remove, "removed", "marked for removal", "remove", func(job.State) string {
		return "already marked for removal"
	}}
	vacate = deed{"vacate", wire.Vacate, "vacated", "vacated", "vacate", func(job.State) string {
		return "not running to be vacated"
	}}
	evict = deed{"vacate", wire.Evict, "vacated", "fast-vacated", "fast-vacate", func(job.State) string {
		return "not running to be fast-vacated"
	}}
	suspend = deed{"suspend", wire.Suspend, "suspended", "suspended", "suspend", func(s job.State) string {
		if s == job.Suspended {
			return "already suspended"
		}
		return "not running to be suspended"
	}}
	resume = deed{"continue", wire.Continue, "continued", "continued", "continue", func(s job.State) string {
		if s == job.Running {
			return "already running"
		}
		return "not running to be continued"
	}}
)

func (a *app) holdCommand() *cobra.Command {
	return a.action(hold, "park jobs until they are released",
		`Hold takes jobs off their machines and keeps them from running until "skua release". A held job goes on
from its newest checkpoint.`)
}

func (a *app) releaseCommand() *cobra.Command {
	return a.action(release, "let held jobs run again",
		`Release lets held jobs run again. "skua why JOB" says why a job is held; mend that first, with
"skua edit" if it is in the job's description.`)
}

func (a *app) rmCommand() *cobra.Command {
	c := a.action(rm, "remove jobs for good",
		`Rm removes jobs from the queue. What they have done is lost, checkpoints included.`)
	c.SuggestFor = []string{"cancel", "delete", "remove", "kill"}
	var forcex bool
	c.Flags().BoolVar(&forcex, "forcex", false, "accepted for HTCondor's sake: a removed job is gone at once")
	_ = c.Flags().MarkHidden("forcex") // it is there
	return c
}

func (a *app) vacateCommand() *cobra.Command {
	c := a.action(vacate, "have running jobs leave their machines",
		`Vacate asks running jobs to leave their machines, with a checkpoint where that is possible. They are idle
again then and go on elsewhere, or on the same machine if it is the best. With --fast they leave at
once, and what they did since their last checkpoint is lost.`)
	c.Flags().Bool("fast", false, "at once, without a checkpoint")
	return c
}

func (a *app) suspendCommand() *cobra.Command {
	return a.action(suspend, "freeze running jobs where they are",
		`Suspend freezes running jobs in place: they keep their machines and memory, and use no processor. "skua
continue" lets them go on. If the machine is needed they leave it as any other job does.`)
}

func (a *app) continueCommand() *cobra.Command {
	return a.action(resume, "let suspended jobs go on",
		`Continue ends what "skua suspend" began. A job that is suspended because the machine's owner is back
stays so until the owner has left.`)
}

// action is the command of a deed.
func (a *app) action(d deed, short, long string) *cobra.Command {
	var m meant
	var reason string
	var asJSON bool
	c := &cobra.Command{
		Use:   d.name + " {CLUSTER | JOB | USER}...",
		Short: short,
		Long:  long,
		Example: fmt.Sprintf(`  skua %[1]s 12                 all jobs of cluster 12
  skua %[1]s 12.3 12.5          two jobs
  skua %[1]s --constraint 'JobPrio < 0'
  skua %[1]s --all              all your jobs`, d.name),
		ValidArgsFunction: a.completeJobs,
		RunE: func(c *cobra.Command, args []string) error {
			d := d
			if fast, err := c.Flags().GetBool("fast"); err == nil && fast {
				d = evict
			}
			if err := m.read(d.name, args); err != nil {
				return err
			}
			a.doubt(m.constraint, adnames.Job)
			if reason == "" && a.as != "" && d.do != wire.Vacate && d.do != wire.Evict {
				reason = "via " + a.as
			}
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			if a.as != "" {
				return a.actAsCondor(c.Context(), pool, d, m, reason)
			}
			res, err := act(c.Context(), pool, d.do, m, reason)
			if err != nil {
				return err
			}
			return a.report(res, d.done, m, asJSON)
		},
	}
	m.flags(c)
	c.Flags().StringVar(&reason, "reason", "", "why, for the job's log")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was done as JSON")
	return c
}

// meant are the jobs that a command line names.
type meant struct {
	all        bool
	constraint string
	sel        wire.Selection // clusters and jobs
	users      []string
}

func (m *meant) flags(c *cobra.Command) {
	c.Flags().BoolVar(&m.all, "all", false, "all your jobs")
	c.Flags().StringVar(&m.constraint, "constraint", "", "only jobs for which this ClassAd expression is true")
}

var ownerWord = regexp.MustCompile(`^[A-Za-z_][\w.@-]*$`)

// read sorts clusters, jobs and users, and refuses to guess when there are none.
func (m *meant) read(name string, args []string) error {
	var ids []string
	for _, arg := range args {
		if ownerWord.MatchString(arg) {
			m.users = append(m.users, arg)
		} else {
			ids = append(ids, arg)
		}
	}
	var err error
	if m.sel, err = selection(ids); err != nil {
		return err
	}
	switch {
	case !m.named() && m.constraint == "" && !m.all:
		return usage("name a cluster (12) or a job (12.3), or say --all", "%s wants to know which jobs", name)
	case m.named() && m.all:
		return usage("leave one of them out", "--all together with named jobs")
	}
	return nil
}

func (m *meant) named() bool { return len(m.sel.Clusters)+len(m.sel.Jobs)+len(m.users) > 0 }

// selections are what has to be asked for: users are not named in a selection, but by a constraint.
func (m *meant) selections() []wire.Selection {
	var list []wire.Selection
	if len(m.users) == 0 || len(m.sel.Clusters)+len(m.sel.Jobs) > 0 {
		sel := m.sel
		sel.Constraint = m.constraint
		list = append(list, sel)
	}
	if len(m.users) > 0 {
		list = append(list, wire.Selection{Constraint: both(ofUsers(m.users), m.constraint)})
	}
	return list
}

// ofUsers is the constraint for jobs of these users.
func ofUsers(names []string) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = "Owner == " + strconv.Quote(n)
	}
	return strings.Join(parts, " || ")
}

// both joins two constraints, of which either may be empty.
func both(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return "(" + a + ") && (" + b + ")"
}

// act does something to all jobs that are meant.
func act(ctx context.Context, pool *client.Client, do wire.ActionVerb, m meant, reason string, set ...job.Assigned) (wire.ActionResult, error) {
	all := wire.ActionResult{Not: map[string]string{}}
	for _, sel := range m.selections() {
		res, err := pool.Act(ctx, do, sel, reason, set...)
		if err != nil {
			return all, err
		}
		all.Done = append(all.Done, res.Done...)
		maps.Copy(all.Not, res.Not)
		if res.Note != "" {
			all.Note = res.Note
		}
	}
	return all, nil
}

// report says what was done. That nothing was done to jobs that were named is a failure.
func (a *app) report(res wire.ActionResult, done string, m meant, asJSON bool) error {
	if asJSON {
		err := json.NewEncoder(a.out).Encode(struct {
			Done []job.ID          `json:"done"`
			Not  map[string]string `json:"not"`
			Note string            `json:"note,omitempty"`
		}{append([]job.ID{}, res.Done...), res.Not, res.Note})
		if err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(res.Not)) {
		a.say("%s was not %s: %s", id, done, printable(res.Not[id]))
	}
	switch n := len(res.Done); {
	case asJSON && n > 0:
	case n == 1:
		fmt.Fprintf(a.out, "Job %v %s.\n", res.Done[0], done)
	case n > 1:
		fmt.Fprintf(a.out, "%d jobs %s: %s.\n", n, done, ranges(res.Done))
	case len(m.users) > 0 && len(res.Not) == 0:
		return &diag.Problem{
			What: fmt.Sprintf("there is no job of yours that could be %s", done),
			Hint: `a user's name means that user's jobs, and you can act on your own only: "skua q" lists them`,
		}
	case !m.named() || len(res.Not) == 0:
		return &diag.Problem{What: fmt.Sprintf("there is no job that could be %s", done), Hint: `"skua q" lists your jobs`}
	}
	if res.Note != "" {
		a.say("note: %s", printable(res.Note))
	}
	if len(res.Not) > 0 && m.named() {
		return &diag.Problem{What: fmt.Sprintf("%d of what you named could not be %s", len(res.Not), done)}
	}
	return nil
}

// actAsCondor does it as HTCondor's tools do: single jobs one by one, and then all others together.
func (a *app) actAsCondor(ctx context.Context, pool *client.Client, d deed, m meant, reason string) error {
	failed := false
	if ids := m.sel.Jobs; len(ids) > 0 {
		if m.constraint != "" {
			fmt.Fprintln(a.err, "Warning, -constraint is ignored for fully qualified job ids")
		}
		res, err := pool.Act(ctx, d.do, wire.Selection{Jobs: ids}, reason)
		if err != nil {
			return err
		}
		states, err := statesOf(ctx, pool, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			state, there := states[id]
			switch {
			case slices.Contains(res.Done, id):
				fmt.Fprintf(a.out, "Job %v %s\n", id, d.past)
				continue
			case !there:
				fmt.Fprintf(a.err, "Job %v not found\n", id)
			default:
				fmt.Fprintf(a.err, "Job %v %s\n", id, d.not(state))
			}
			failed = failed || len(res.Done) == 0
		}
	}
	// A constraint beside single jobs alone is ignored, as the warning says; HTCondor does act on all jobs
	// for which it holds, which nobody expects.
	if m.all || m.constraint != "" && len(m.sel.Jobs) == 0 || len(m.users)+len(m.sel.Clusters) > 0 {
		if err := a.actOnMany(ctx, pool, d, m, reason, &failed); err != nil {
			return err
		}
	}
	if failed {
		return errQuiet
	}
	return nil
}

// actOnMany does it to all jobs of clusters and users, or for which a constraint holds.
func (a *app) actOnMany(ctx context.Context, pool *client.Client, d deed, m meant, reason string, failed *bool) error {
	var parts []string
	for _, c := range m.sel.Clusters {
		parts = append(parts, fmt.Sprintf("ClusterId == %d", c))
	}
	if len(m.users) > 0 {
		parts = append(parts, ofUsers(m.users))
	}
	constraint := both(strings.Join(parts, " || "), m.constraint)
	which := fmt.Sprintf(" matching constraint (%s)", constraint)
	switch {
	case m.all:
		which = ""
	case m.constraint != "" || len(m.users)+len(m.sel.Clusters) > 1:
	case len(m.users) == 1:
		which = fmt.Sprintf(" of user %q", m.users[0])
	default:
		which = fmt.Sprintf(" in cluster %d", m.sel.Clusters[0])
	}
	m.sel.Jobs = nil // they have been seen to
	res, err := act(ctx, pool, d.do, m, reason)
	if err != nil {
		return err
	}
	if len(res.Done) > 0 {
		fmt.Fprintf(a.out, "All jobs%s have been %s\n", which, d.past)
		return nil
	}
	rows, err := pool.Summary(ctx, wire.Selection{})
	if err != nil {
		return err
	}
	if len(rows) == 0 { // HTCondor takes that for no error
		fmt.Fprintln(a.err, "There are no jobs in the queue")
		return nil
	}
	fmt.Fprintf(a.err, "Couldn't find/%s all jobs%s\n", d.verb, which)
	*failed = true
	return nil
}

// statesOf gives the states of those jobs that are in the queue.
func statesOf(ctx context.Context, pool *client.Client, ids []job.ID) (map[job.ID]job.State, error) {
	rows, _, err := pool.Jobs(ctx, wire.Selection{Jobs: ids})
	if err != nil {
		return nil, err
	}
	states := map[job.ID]job.State{}
	for _, r := range rows {
		states[r.ID] = stateOf(r.Ad)
	}
	return states, nil
}
