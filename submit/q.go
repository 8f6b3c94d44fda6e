package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/adnames"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
)

// queueView is what the flags of q say beyond the form of the output.
type queueView struct {
	*output
	*jobChoice
	batch, nobatch          bool
	run, hold, idle, totals bool
	cpuTime, currentRun     bool
	analyze, dag            bool
	limit                   int
	condor                  bool // print as condor_q does
}

func (a *app) qCommand() *cobra.Command {
	q := &queueView{condor: a.as == "condor_q"}
	c := &cobra.Command{
		Use: "q [CLUSTER | JOB | USER]...", SuggestFor: []string{"list", "ls", "queue", "jobs"},
		Short: "show the jobs in the queue, and why idle ones wait",
		Long: `Q shows your jobs that have not ended, a line for each batch: how many are done, run, wait and are held.
Below the table it says in plain words why idle jobs wait and held ones are held. Jobs that have ended
are in "skua history"; "skua why JOB" says all there is to say about one.

With --nobatch each job has its line, and ST is its state: I idle, R running, S suspended because the
machine's owner is back or its user wants it, H held, < and > bring inputs and outputs.

Arguments are clusters (12), jobs (12.3) and users (ann). Long flags may be written as HTCondor's users do,
with one dash and shortened: -nob, -cons, -af:jh.

After -af come expressions, up to the next flag; letters after a colon say how values are printed:
` + autoformatHelp + queryExits,
		Example: `  skua q                                  your batches
  skua q -nobatch 12                      the jobs of cluster 12, one a line
  skua q -hold                            held jobs, and why
  skua q -constraint 'RequestMemory > 4096'
  skua q -af ClusterId ProcId Cmd         values, for scripts
  skua q -af:jh JobStatus NumJobStarts    with job ids and headings
  skua q -long 12.0                       all attributes of a job
  skua q -allusers -totals`,
		RunE: func(c *cobra.Command, args []string) error { return a.queue(c, q, args) },
	}
	q.output = addOutput(c, "the jobs' ads")
	if q.condor {
		q.emptyList, c.Version = noList, version
	}
	q.jobChoice = addJobChoice(c)
	f := c.Flags()
	f.BoolVar(&q.batch, "batch", false, "a line for each batch, also with --run, --hold and --idle")
	f.BoolVar(&q.nobatch, "nobatch", false, "a line for each job")
	f.BoolVar(&q.run, "run", false, "only jobs on machines, and where they are")
	f.BoolVar(&q.hold, "hold", false, "only held jobs, and why")
	f.BoolVar(&q.idle, "idle", false, "only jobs that wait, and what they ask for")
	f.BoolVar(&q.totals, "totals", false, "only the numbers of jobs")
	f.BoolVar(&q.cpuTime, "cputime", false, "processor time in the place of time on machines")
	f.BoolVar(&q.currentRun, "currentrun", false, "time of the present run only")
	f.IntVar(&q.limit, "limit", 0, "at most `N` lines; 0 means all")
	f.BoolVar(&q.analyze, "analyze", false, `what "skua why" says of the jobs`)
	f.BoolVar(&q.dag, "dag", false, "")
	f.Bool("global", false, "")
	f.Bool("stream-results", false, "")
	f.Bool("expert", false, "")
	for _, hidden := range []string{"dag", "global", "stream-results", "expert"} {
		f.Lookup(hidden).Hidden = true
	}
	teach(c, "analyze", habit{also: []string{"better-analyze"}, short: "an", opts: true})
	f.Lookup("analyze").NoOptDefVal = "true"
	teach(c, "global", habit{short: "g"})
	teach(c, "nobatch", habit{short: "nob"})
	teach(c, "hold", habit{also: []string{"held"}, short: "ho"})
	teach(c, "run", habit{short: "r"})
	teach(c, "totals", habit{short: "tot"})
	refuseQueueFlags(c)
	return c
}

// refuseQueueFlags names what condor_q can do and this cannot.
func refuseQueueFlags(c *cobra.Command) {
	refuse(c, false, "io", "how much a job reads and writes itself is not recorded", "the event log has the sizes of the files brought to and from each job")
	refuse(c, false, "goodput", "goodput is not recorded yet", "-cputime shows the processor time of jobs")
	refuse(c, false, "grid", "there are no grid jobs", "all jobs run on the machines of the pool")
	refuse(c, false, "autocluster", "how the matchmaker groups jobs is its own affair", `"skua why JOB" says what it looks at`)
	refuse(c, false, "factory", "jobs of a queue statement that are not made yet are counted as idle", `below its table "skua q" says how many they are`)
	refuse(c, false, "jobset", "there are no job sets", "batch_name in a description puts clusters together")
	refuse(c, false, "unmatchable", "it is not a flag of its own here", `below its table "skua q" says why jobs wait`)
	for _, file := range []string{"jobads", "userlog", "slotads", "userprios"} {
		refuse(c, true, file, "only the queue itself is read", `"skua classad" works on ads in files, "skua wait FILE" on event logs`)
	}
	refuse(c, true, "schedd-constraint", "a pool has one queue", "leave it out")
	refuse(c, true, "machine", "an analysis looks at all machines", `"skua why JOB" names them`)
	refuse(c, true, "mconstraint", "an analysis looks at all machines", `"skua why JOB" names them`)
	refuse(c, false, "reverse-analyze", "an analysis looks from jobs at machines", `"skua why JOB"`)
}

func (q *queueView) check() error {
	if q.limit < 0 {
		return usage("0 means all", "--limit %d", q.limit)
	}
	if q.batch && q.nobatch {
		return usage("leave one of them out", "--batch together with --nobatch")
	}
	views := 0
	for _, set := range []bool{q.run, q.hold, q.idle} {
		if set {
			views++
		}
	}
	if views > 1 {
		return usage("leave all but one of them out", "--run, --hold and --idle choose among the same jobs")
	}
	return q.output.check()
}

// queue is the command.
func (a *app) queue(c *cobra.Command, q *queueView, args []string) error {
	if err := cmp.Or(refused(c), q.check()); err != nil {
		return err
	}
	if q.analyze {
		return a.analyze(c.Context(), args)
	}
	if q.dag {
		a.say("note: there are no workflows yet; jobs are shown by batch")
	}
	sel, err := q.selection(args, q.statePart()...)
	if err != nil {
		return err
	}
	a.doubt(q.constraint, adnames.Job)
	rows, err := q.rows(a.out)
	if err != nil && !q.wholeAds() {
		return err
	}
	pool, home, err := a.connect(c.Context())
	if err != nil {
		return err
	}
	defer pool.Close()
	switch {
	case q.wholeAds():
		return a.jobAds(c.Context(), pool, q, sel)
	case rows != nil:
		return stream(c.Context(), pool, wire.QueryJobs, sel, rows, q.limit)
	}
	return a.showQueue(c.Context(), pool, home, q, sel)
}

// statePart is the constraint of the flags that choose jobs by their state.
func (q *queueView) statePart() []string {
	switch {
	case q.run:
		return []string{"JobStatus == 2 || JobStatus == 6 || JobStatus == 7"}
	case q.hold:
		return []string{"JobStatus == 5"}
	case q.idle:
		return []string{"JobStatus == 1"}
	}
	return nil
}

// stream asks for the values of a form's expressions and prints them while they come.
func stream(ctx context.Context, pool *client.Client, kind wire.QueryKind, sel wire.Selection, rows rowFormat, limit int) error {
	err := pool.Columns(ctx, kind, sel, rows.columns(), limit, func(values []string) error {
		rows.row(values)
		return nil
	})
	if err != nil {
		return err
	}
	return rows.flush()
}

// adsAtATime is how many whole ads are asked for and held in memory.
const adsAtATime = 500

// jobAds prints whole ads while they come: of a large queue they are hundreds of megabytes.
func (a *app) jobAds(ctx context.Context, pool *client.Client, q *queueView, sel wire.Selection) error {
	var ids []job.ID
	err := pool.Columns(ctx, wire.QueryJobs, sel, []string{"ClusterId", "ProcId"}, q.limit, func(values []string) error {
		cluster, _ := intOf(values[0])
		proc, _ := intOf(values[1])
		ids = append(ids, job.ID{Cluster: int(cluster), Proc: int(proc)})
		return nil
	})
	if err != nil {
		return err
	}
	w := q.adWriter(a.out)
	for some := range slices.Chunk(ids, adsAtATime) {
		found, _, err := pool.Jobs(ctx, wire.Selection{Jobs: some, AllUsers: true})
		if err != nil {
			return err
		}
		for _, ad := range adsOf(found) {
			w.add(ad)
		}
	}
	return w.flush()
}

// analyze says what "skua why" says.
func (a *app) analyze(ctx context.Context, args []string) error {
	root := a.command()
	root.SetArgs(append([]string{"why"}, args...))
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return root.ExecuteContext(ctx)
}

func limited[T any](all []T, limit int) []T {
	if limit > 0 && limit < len(all) {
		return all[:limit]
	}
	return all
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

func stateOf(ad *classad.Ad) job.State {
	n, _ := ad.Int("JobStatus")
	return job.State(n)
}

// jobsView is the table of jobs that the flags ask for.
func (q *queueView) jobsView(now time.Time) view {
	runTime := runTimeColumn(now, q.currentRun)
	if q.cpuTime {
		runTime = cpuTimeColumn
	}
	switch {
	case q.run:
		return view{idColumn, ownerColumn, submittedColumn, runTime, hostColumn}
	case q.hold:
		return view{
			idColumn, ownerColumn,
			{head: "HELD_SINCE", least: 11, left: true, from: []string{"EnteredCurrentStatus"}, show: momentOf},
			{head: "HOLD_REASON", least: -1, from: []string{"HoldReason"}, show: first},
		}
	case q.idle:
		return view{
			idColumn, ownerColumn, submittedColumn,
			{head: "CPUS", least: 4, from: []string{"RequestCpus"}, show: first},
			{head: "MEMORY", least: 6, from: []string{"RequestMemory"}, show: first},
			{head: "STARTS", least: 6, from: []string{"NumJobStarts"}, show: first},
			{head: "LAST_HOST", least: -1, from: []string{"LastRemoteHost"}, show: first},
		}
	}
	return view{idColumn, ownerColumn, submittedColumn, runTime, stateColumn, prioColumn, sizeColumn, commandColumn}
}
