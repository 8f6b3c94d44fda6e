package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"skua/internal/adnames"
	"skua/internal/diag"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
)

// statusView is what the flags of status say beyond the form of the output.
type statusView struct {
	*output
	constraint          string
	avail, claimed, run bool
	state, server       bool
	compact, total      bool
	sort                []string
	limit               int
	condor              bool // print as condor_status does
	args                []string
}

func (a *app) statusCommand() *cobra.Command {
	s := &statusView{condor: a.as == "condor_status"}
	c := &cobra.Command{
		Use:   "status [MACHINE | SLOT]...",
		Short: "show the machines of the pool",
		Long: `Status lists the slots of the pool's machines, of which each runs one job at a time. A partitionable
machine has slot1@desk7, with what is left of it, and slot1_1@desk7 and so on, one for each job. State and
Activity are HTCondor's words:

  Owner       the machine is its owner's: somebody uses it, or its policy lets no jobs run now
  Unclaimed   free for a job
  Claimed     taken for a job, which is Busy or, while somebody uses the machine, Suspended
  Preempting  the job is leaving, with a checkpoint if it can (Vacating) or without (Killing)
  Drained     taken out of service

Arguments are machines (desk7) and slots (slot1@desk7). Long flags may be written as HTCondor's users do,
with one dash and shortened.

After -af come expressions, up to the next flag; letters after a colon say how values are printed:
` + autoformatHelp + `

Exit codes: 0, also when no slot is as asked for; 1 when there is no machine of a name that was given; 2 for a
mistake on the command line; 3 when the pool cannot be reached.`,
		Example: `  skua status
  skua status desk7
  skua status -avail                      free slots
  skua status -run                        who runs what where
  skua status -compact                    a line for each machine
  skua status -constraint 'Memory > 8000 && HasCheckpointing'
  skua status -sort Memory -af:h Name Memory KeyboardIdle
  skua status -long desk7                 all attributes`,
		RunE: func(c *cobra.Command, args []string) error {
			s.args = args
			return a.status(c, s)
		},
	}
	s.output = addOutput(c, "the slots' ads")
	if s.condor {
		s.emptyList, c.Version = noList, version
	}
	f := c.Flags()
	f.StringVar(&s.constraint, "constraint", "", "only slots for which the ClassAd expression `EXPR` is true")
	f.BoolVar(&s.avail, "avail", false, "only slots that are free")
	f.BoolVar(&s.claimed, "claimed", false, "only slots that are claimed, and for whom")
	f.BoolVar(&s.run, "run", false, "only slots with a job, whose it is and which")
	f.BoolVar(&s.state, "state", false, "since when slots are in their states")
	f.BoolVar(&s.server, "server", false, "what the machines can do")
	f.BoolVar(&s.compact, "compact", false, "a line for each machine")
	f.BoolVar(&s.total, "totals", false, "only the numbers of slots, and what came of the time of all jobs")
	f.StringArrayVar(&s.sort, "sort", nil, "sort by `EXPR`; may be given again for what is equal")
	f.IntVar(&s.limit, "limit", 0, "at most `N`; 0 means all")
	f.Bool("startd", false, "")
	f.Bool("slots", false, "")
	f.Bool("natural", false, "")
	for _, hidden := range []string{"startd", "slots", "natural"} {
		f.Lookup(hidden).Hidden = true
	}
	teach(c, "constraint", habit{short: "con"})
	teach(c, "totals", habit{also: []string{"total"}, short: "t"})
	teach(c, "natural", habit{opts: true})
	f.Lookup("natural").NoOptDefVal = "true"
	refuseStatusFlags(c)
	return c
}

// refuseStatusFlags names what condor_status can show and this cannot.
func refuseStatusFlags(c *cobra.Command) {
	for _, daemon := range []string{"schedd", "master", "collector", "negotiator", "defrag", "ckptsrvr", "grid", "any", "generic", "license", "storage", "data", "cod", "java", "vm", "absent"} {
		refuse(c, false, daemon, "machines and their slots are all that is shown", `"skua-matchmaker members" lists who is in the pool`)
	}
	refuse(c, false, "submitters", "it is not a form of status here", `"skua users" shows everybody's share`)
	refuse(c, false, "gpus", "GPUs are not matched yet", "-constraint and -af show what machines advertise")
	for _, flag := range []string{"pool", "direct", "name"} {
		refuse(c, true, flag, "the matchmaker of the pool you are a member of is asked, and no other",
			`"skua login TOKEN" joins another pool; SKUA_HOME=DIR keeps the membership of a second one`)
	}
	refuse(c, true, "ads", "only the pool itself is asked", `"skua classad" works on ads in files`)
	refuse(c, true, "target", "expressions are evaluated in the slot's ad alone", `"skua classad eval EXPR" takes two ads`)
	refuse(c, true, "statistics", "no statistics are kept", "leave it out")
	refuse(c, true, "merge", "ads are not compared", "leave it out")
	refuse(c, false, "diagnose", "there is no query ad", "leave it out")
}

func (s *statusView) check() error {
	if s.limit < 0 {
		return usage("0 means all", "--limit %d", s.limit)
	}
	views := 0
	for _, set := range []bool{s.avail, s.claimed, s.run} {
		if set {
			views++
		}
	}
	if views > 1 {
		return usage("leave all but one of them out", "--avail, --claimed and --run choose among the same slots")
	}
	if s.constraint != "" {
		if err := checkConstraint(s.constraint); err != nil {
			return err
		}
	}
	for _, e := range s.sort {
		if _, err := classad.ParseExpr(e); err != nil {
			return mistaken("the expression "+e, err)
		}
	}
	return s.output.check()
}

// status is the command.
func (a *app) status(c *cobra.Command, s *statusView) error {
	if err := cmp.Or(refused(c), s.check()); err != nil {
		return err
	}
	a.doubt(s.constraint, adnames.Machine)
	var form rowFormat
	var err error
	if !s.wholeAds() {
		if form, err = s.rows(a.out); err != nil {
			return err
		}
	}
	pool, _, err := a.connect(c.Context())
	if err != nil {
		return err
	}
	defer pool.Close()
	switch {
	case s.wholeAds():
		return a.slotAds(c.Context(), pool, s)
	case form != nil:
		rows, err := s.fetch(c.Context(), pool, form.columns())
		if err != nil {
			return err
		}
		for _, values := range rows {
			form.row(values)
		}
		return form.flush()
	}
	return a.showSlots(c.Context(), pool, s)
}

// selection is the constraint that arguments and flags add up to.
func (s *statusView) selection() wire.Selection {
	var all []string
	if len(s.args) > 0 {
		names := make([]string, len(s.args))
		for i, name := range s.args {
			names[i] = fmt.Sprintf("Name == %q || Machine == %q || substr(Machine, 0, %d) == %q", name, name, len(name)+1, name+".")
		}
		all = append(all, strings.Join(names, " || "))
	}
	if s.constraint != "" {
		all = append(all, s.constraint)
	}
	switch {
	case s.avail:
		all = append(all, `State == "Unclaimed" && (Cpus ?: 1) > 0`) // a partitionable slot may be used up
	case s.claimed:
		all = append(all, `State == "Claimed"`)
	case s.run:
		all = append(all, `State == "Claimed" && JobId isnt undefined`)
	}
	return wire.Selection{Constraint: allOf(all)}
}

// fetch gives the values of expressions in the slots, sorted and cut off as the flags say.
func (s *statusView) fetch(ctx context.Context, pool *client.Client, exprs []string) ([][]string, error) {
	limit := s.limit
	by := s.sortExprs()
	if len(by) > 0 {
		limit = 0
	}
	var rows [][]string
	n := len(exprs)
	err := pool.Columns(ctx, wire.QueryMachines, s.selection(), slices.Concat(exprs, by), limit, func(values []string) error {
		rows = append(rows, slices.Clone(values))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 && len(s.args) > 0 {
		return nil, s.nobody()
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return compareRows(a[n:], b[n:]) })
	for i := range rows {
		rows[i] = rows[i][:n]
	}
	return limited(rows, s.limit), nil
}

// nobody says that no slot is what was asked for.
func (s *statusView) nobody() error {
	what := "there is no slot of " + listed(s.args)
	if s.constraint != "" || s.avail || s.claimed || s.run {
		what += " for which that is true"
	}
	return &diag.Problem{What: what, Hint: `"skua status" lists the machines there are`}
}

// sortExprs are the expressions to sort by; "no" means not to sort.
func (s *statusView) sortExprs() []string {
	return slices.DeleteFunc(slices.Clone(s.sort), func(e string) bool { return e == "no" })
}

// compareRows orders by values: numbers by size and before texts.
func compareRows(a, b []string) int {
	for i := range a {
		x, isNum := realOf(a[i])
		y, alsoNum := realOf(b[i])
		var c int
		switch {
		case isNum && alsoNum:
			c = cmp.Compare(x, y)
		case isNum != alsoNum:
			c = 1
			if isNum {
				c = -1
			}
		default:
			c = strings.Compare(strings.ToLower(a[i]), strings.ToLower(b[i]))
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func (a *app) slotAds(ctx context.Context, pool *client.Client, s *statusView) error {
	ads, err := pool.Machines(ctx, s.selection().Constraint)
	if err != nil {
		return err
	}
	if len(ads) == 0 && len(s.args) > 0 {
		return s.nobody()
	}
	if by := s.sortExprs(); len(by) > 0 {
		key := func(i int) []string {
			keys := make([]string, len(by))
			for k, e := range by {
				keys[k] = valueIn(ads[i], e)
			}
			return keys
		}
		order := make([]int, len(ads))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(x, y int) int { return compareRows(key(x), key(y)) })
		sorted := slices.Clone(ads)
		for i, k := range order {
			sorted[i] = ads[k]
		}
		ads = sorted
	}
	return a.printAds(s.output, limited(ads, s.limit))
}

// slotKind is what the numbers below the table are made of.
var slotKind = []string{"Arch", "OpSys", "State", "Activity"}

// showSlots prints the table of slots or machines, and their numbers.
func (a *app) showSlots(ctx context.Context, pool *client.Client, s *statusView) error {
	v := s.view()
	if s.compact {
		_, v = machineTable(s.condor)
	}
	rows, err := s.fetch(ctx, pool, append(v.exprs(), slotKind...))
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		if s.condor {
			return nil // as condor_status
		}
		_, err := fmt.Fprintln(a.out, s.none())
		return err
	}
	if err := a.printSlots(s, v, rows); err != nil || !s.total || s.condor {
		return err
	}
	if g, err := pool.Goodput(ctx); err == nil { // an older matchmaker does not know
		printGoodput(a.out, g)
	}
	return nil
}

// printSlots prints rows of a view's values, each followed by platform and state of the slot.
func (a *app) printSlots(s *statusView, v view, rows [][]string) error {
	cutAt, _ := s.cutAt()
	n := len(v.exprs())
	sum := &slotTotals{}
	for _, values := range rows {
		sum.add(textOf(values[n]), textOf(values[n+1]), textOf(values[n+2]), textOf(values[n+3]))
	}
	if !s.total {
		t := v.table(cutAt)
		t.padded, t.gap = s.condor, s.condor
		if s.compact {
			cols, _ := machineTable(s.condor)
			rows = byMachine(rows, cols)
		}
		for _, values := range rows {
			t.add(v.cells(values[:n])...)
		}
		if err := t.write(a.out); err != nil {
			return err
		}
	}
	return sum.print(a, s.condor, cutAt, s.total)
}

// none says that there is nothing to show.
func (s *statusView) none() string {
	switch {
	case s.avail:
		return "no slot is free"
	case s.claimed, s.run:
		return "no slot is claimed"
	case s.constraint != "":
		return "no slots for which that is true"
	}
	return "no machines"
}
