package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"skua/policy/classad"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, long bool
	var constraint string
	c := &cobra.Command{
		Use:   "status",
		Short: "show the machines of the pool",
		Long: `Status lists the slots of the pool's machines, of which each runs one job at a time. A slot belongs to
the machine's Owner, is Unclaimed, or is Claimed for a job, which is Busy or, when somebody uses the
machine, Suspended.`,
		Example: `  skua status
  skua status --constraint 'Memory > 8000 && HasCheckpointing'
  skua status --long --constraint 'Machine == "desk7"'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			ads, err := pool.Machines(c.Context(), constraint)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return a.printJSON(ads)
			case long:
				a.printLong(ads)
			default:
				a.printSlots(ads, time.Now())
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the slots' ads as JSON")
	c.Flags().BoolVarP(&long, "long", "l", false, "print the slots' ads")
	c.Flags().StringVar(&constraint, "constraint", "", "only slots for which this ClassAd expression is true")
	return c
}

func (a *app) printSlots(ads []*classad.Ad, now time.Time) {
	if len(ads) == 0 {
		fmt.Fprintln(a.out, "no machines")
		return
	}
	t := newTable("Name", "OpSys", "Arch", "State", "Activity", "Cpus", "Mem", "ActvtyTime")
	t.right[5], t.right[6], t.right[7] = true, true, true
	totals := map[string]map[string]int{}
	for _, ad := range ads {
		str := func(name string) string { s, _ := ad.Str(name); return printable(s) }
		num := func(name string) string {
			n, ok := ad.Int(name)
			if !ok {
				return ""
			}
			return fmt.Sprint(n)
		}
		since := ""
		if at, ok := ad.Int("EnteredCurrentActivity"); ok {
			since = span(now.Sub(time.Unix(at, 0)))
		}
		t.add(str("Name"), str("OpSys"), str("Arch"), str("State"), str("Activity"), num("Cpus"), num("Memory"), since)
		kind := str("Arch") + "/" + str("OpSys")
		if totals[kind] == nil {
			totals[kind] = map[string]int{}
		}
		totals[kind][str("State")]++
	}
	t.write(a.out)
	fmt.Fprintln(a.out)

	states := []string{"Owner", "Claimed", "Unclaimed", "Preempting", "Drained"}
	sum := newTable(append([]string{"", "Total"}, states...)...)
	for i := range states {
		sum.right[i+2] = true
	}
	sum.right[0], sum.right[1] = true, true
	all := map[string]int{}
	line := func(name string, count map[string]int) {
		n := 0
		for _, c := range count {
			n += c
		}
		cells := []string{name, fmt.Sprint(n)}
		for _, s := range states {
			cells = append(cells, fmt.Sprint(count[s]))
		}
		sum.add(cells...)
	}
	for _, kind := range slices.Sorted(maps.Keys(totals)) {
		line(kind, totals[kind])
		for s, n := range totals[kind] {
			all[s] += n
		}
	}
	line("Total", all)
	sum.write(a.out)
}
