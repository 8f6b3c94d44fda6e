package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/cli"
	"skua/internal/wire"
	"skua/submit/client"
)

func (a *app) usersCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "users [NAME]...",
		Short: "show how the pool is shared among its users",
		Long: `Users lists who has used the pool, those first whose jobs come first. The effective priority decides: it
grows with the slots that a user has now and falls again, by half in a day unless the pool is set up
otherwise; the factor is set by an administrator. A user with half the effective priority of
another is given twice the machines. Time that a job stands suspended is not counted.`,
		Example: `  skua users
  skua users --json`,
		RunE: func(c *cobra.Command, args []string) error {
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			rows, err := pool.Users(c.Context())
			if err != nil {
				return err
			}
			if len(args) > 0 {
				rows = slices.DeleteFunc(rows, func(r wire.UserRow) bool { return !slices.Contains(args, r.Name) })
			}
			slices.SortStableFunc(rows, func(x, y wire.UserRow) int {
				return cmp.Or(cmp.Compare(x.Effective, y.Effective), cmp.Compare(x.Name, y.Name))
			})
			switch {
			case asJSON:
				return json.NewEncoder(a.out).Encode(append([]wire.UserRow{}, rows...))
			case a.as != "":
				a.printUserprio(rows, time.Now())
			default:
				a.printUsers(rows, time.Now())
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the shares as JSON")
	return c
}

func (a *app) printUsers(rows []wire.UserRow, now time.Time) {
	t := newTable("NAME", "PRIORITY", "FACTOR", "IN USE", "HOURS", "LAST USED")
	for _, r := range rows {
		t.add(printable(r.Name), number(r.Effective), number(r.Factor), strconv.Itoa(r.InUse),
			strconv.FormatFloat(r.Hours, 'f', 1, 64), lastUsed(r, now))
	}
	for i := 1; i < 5; i++ {
		t.right[i] = true
	}
	t.write(a.out)
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

func lastUsed(r wire.UserRow, now time.Time) string {
	switch {
	case r.InUse > 0:
		return "now"
	case r.Last.IsZero():
		return "never"
	}
	return span(now.Sub(r.Last)) + " ago"
}

// printUserprio prints the shares as HTCondor's userprio does.
func (a *app) printUserprio(rows []wire.UserRow, now time.Time) {
	const rule = "------------------- ------------ --------- ------ ------------ ----------"
	fmt.Fprintf(a.out, "Last Priority Update: %s\n", now.Format("1/2  15:04"))
	fmt.Fprintln(a.out, "                       Effective  Priority   Res  Total Usage  Time Since")
	fmt.Fprintln(a.out, "User Name               Priority    Factor In Use (wghted-hrs) Last Usage")
	fmt.Fprintln(a.out, rule)
	slots, hours := 0, 0.0
	for _, r := range rows {
		last := "<now>"
		if r.InUse == 0 {
			since := now.Sub(cmp.Or(r.Last, now))
			last = fmt.Sprintf("%d+%02d:%02d", int(since.Hours())/24, int(since.Hours())%24, int(since.Minutes())%60)
		}
		fmt.Fprintf(a.out, "%-19s %12.2f %9.2f %6d %12.2f %10s\n", printable(r.Name), r.Effective, r.Factor, r.InUse, r.Hours, last)
		slots += r.InUse
		hours += r.Hours
	}
	fmt.Fprintln(a.out, rule)
	fmt.Fprintf(a.out, "%-42s %6d %12.2f\n", fmt.Sprintf("Number of users: %d", len(rows)), slots, hours)
}

func (a *app) limitsCommand() *cobra.Command {
	return listing[wire.LimitRow]{none: "no limits", rows: (*client.Client).Limits, show: limitsTable}.of(a, &cobra.Command{
		Use:   "limits",
		Short: "show the concurrency limits and how much of them is used",
		Long: `Limits lists the pool's concurrency limits: how many jobs that ask for something with
"concurrency_limits = matlab" may run at a time, and how many do. An administrator sets them in
matchmaker.toml.`,
		Example: "  skua limits",
		Args:    cli.NoArgs,
	})
}

func limitsTable(rows []wire.LimitRow) *table {
	t := newTable("LIMIT", "USED", "OF")
	t.right[1], t.right[2] = true, true
	for _, r := range rows {
		most := "no limit"
		if r.Cap >= 0 {
			most = strconv.FormatFloat(r.Cap, 'g', -1, 64)
		}
		t.add(printable(r.Name), strconv.FormatFloat(r.Used, 'g', -1, 64), most)
	}
	return t
}
