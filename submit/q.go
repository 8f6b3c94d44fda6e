package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

func (a *app) qCommand() *cobra.Command {
	var asJSON, long, allUsers bool
	var constraint string
	c := &cobra.Command{
		Use:   "q [CLUSTER | JOB]...",
		Short: "show the jobs in the queue, and why idle ones wait",
		Long: `Q lists jobs that have not ended: I idle, R running, S suspended because the machine's owner is
back, H held. Below the table it says in plain words why idle jobs wait and held ones are held. Jobs
that have ended are in "skua history".`,
		Example: `  skua q
  skua q 12 13.4
  skua q --constraint 'RequestMemory > 4096'
  skua q --long 12.0                    all attributes of a job`,
		RunE: func(c *cobra.Command, args []string) error {
			sel, err := selection(args)
			if err != nil {
				return err
			}
			sel.Constraint, sel.AllUsers = constraint, allUsers
			pool, _, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			rows, _, err := pool.Jobs(c.Context(), sel)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return a.printJSON(adsOf(rows))
			case long:
				a.printLong(adsOf(rows))
			default:
				a.printQueue(rows, time.Now())
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the jobs' ads as JSON")
	c.Flags().BoolVarP(&long, "long", "l", false, "print the jobs' ads")
	c.Flags().BoolVar(&allUsers, "allusers", false, "show the jobs of all users")
	c.Flags().StringVar(&constraint, "constraint", "", "only jobs for which this ClassAd expression is true")
	return c
}

func adsOf(rows []wire.JobRow) []*classad.Ad {
	ads := make([]*classad.Ad, len(rows))
	for i, r := range rows {
		ads[i] = r.Ad
		if r.Why != "" {
			ads[i].SetString("WhyIdle", r.Why)
		}
	}
	return ads
}

func (a *app) printJSON(ads []*classad.Ad) error {
	if ads == nil {
		ads = []*classad.Ad{}
	}
	data, err := json.MarshalIndent(ads, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, string(data))
	return err
}

func (a *app) printLong(ads []*classad.Ad) {
	for _, ad := range ads {
		fmt.Fprintln(a.out, ad.OldString())
	}
}

// letters are HTCondor's for the states of jobs.
var letters = map[job.State]string{
	job.Idle: "I", job.Running: "R", job.Removed: "X", job.Completed: "C", job.Held: "H",
	job.TransferringOutput: ">", job.Suspended: "S",
}

// stateColours are the terminal's colours of states that want to be seen.
var stateColours = map[string]string{"R": green, "S": yellow, "H": red}

func (a *app) printQueue(rows []wire.JobRow, now time.Time) {
	t := newTable("ID", "OWNER", "SUBMITTED", "RUN_TIME", "ST", "PRI", "CMD")
	t.right[0], t.right[3], t.right[5] = true, true, true
	count := map[job.State]int{}
	for _, r := range rows {
		state := stateOf(r.Ad)
		count[state]++
		prio, _ := r.Ad.Int("JobPrio")
		t.add(r.ID.String(), owner(r.Ad), submittedAt(r.Ad), span(runTime(r.Ad, now)), cmp.Or(letters[state], "?"), fmt.Sprint(prio), command(r.Ad))
	}
	t.paint = func(col int, cell string) string {
		if col == 4 {
			return stateColours[strings.TrimSpace(cell)]
		}
		return ""
	}
	t.write(a.out)
	fmt.Fprintf(a.out, "\n%d jobs; %d idle, %d running, %d held, %d suspended\n",
		len(rows), count[job.Idle], count[job.Running], count[job.Held], count[job.Suspended])
	for _, r := range reasons(rows) {
		fmt.Fprintln(a.out, printable(r))
	}
}

func stateOf(ad *classad.Ad) job.State {
	n, _ := ad.Int("JobStatus")
	return job.State(n)
}

func owner(ad *classad.Ad) string {
	name, _ := ad.Str("Owner")
	return printable(name)
}

func submittedAt(ad *classad.Ad) string {
	at, _ := ad.Int("QDate")
	return moment(at)
}

// runTime is how long a job has been on machines, frozen or not.
func runTime(ad *classad.Ad, now time.Time) time.Duration {
	secs, _ := ad.Real("RemoteWallClockTime")
	d := time.Duration(secs * float64(time.Second))
	if s := stateOf(ad); s == job.Running || s == job.Suspended {
		since, ok := ad.Int("JobCurrentStartDate")
		if !ok {
			since, _ = ad.Int("EnteredCurrentStatus")
		}
		d += now.Sub(time.Unix(since, 0))
	}
	return d
}

// command is what a job runs, as short as HTCondor shows it.
func command(ad *classad.Ad) string {
	cmd, _ := ad.Str("Cmd")
	cmd = filepath.Base(cmd)
	args, ok := ad.Str("Arguments")
	if !ok {
		args, _ = ad.Str("Args")
	}
	return printable(strings.TrimSpace(cmd + " " + args))
}

// reasons says why idle jobs wait and held ones are held, jobs with one reason together.
func reasons(rows []wire.JobRow) []string {
	var order []string
	ids := map[string][]job.ID{}
	for _, r := range rows {
		why := ""
		switch stateOf(r.Ad) {
		case job.Idle:
			if why = r.Why; why != "" {
				why = "waiting: " + why
			}
		case job.Held:
			reason, _ := r.Ad.Str("HoldReason")
			why = "held: " + reason
		case job.Suspended:
			if reason, ok := r.Ad.Str("LastVacateReason"); ok {
				why = "suspended: " + reason
			}
		}
		if why == "" {
			continue
		}
		if ids[why] == nil {
			order = append(order, why)
		}
		ids[why] = append(ids[why], r.ID)
	}
	lines := make([]string, len(order))
	for i, why := range order {
		lines[i] = ranges(ids[why]) + " " + why
	}
	return lines
}

// ranges writes ids as "12.0-12.9, 13.1", and of many ranges the first ones.
func ranges(ids []job.ID) string {
	slices.SortFunc(ids, job.ID.Compare)
	var parts []string
	for i := 0; i < len(ids); {
		k := i
		for k+1 < len(ids) && ids[k+1] == (job.ID{Cluster: ids[k].Cluster, Proc: ids[k].Proc + 1}) {
			k++
		}
		part := ids[i].String()
		if k > i {
			part += "-" + ids[k].String()
		}
		parts = append(parts, part)
		i = k + 1
	}
	const most = 5
	if n := len(parts) - most; n > 0 {
		parts = append(parts[:most], fmt.Sprintf("%d more", n))
	}
	return strings.Join(parts, ", ")
}
