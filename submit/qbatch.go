package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/wire"
	"skua/submit/client"
)

// showQueue prints a table of batches or of jobs, and what there is to say about them.
func (a *app) showQueue(ctx context.Context, pool *client.Client, home client.Home, q *queueView, sel wire.Selection) error {
	batches, err := pool.Summary(ctx, sel)
	if err != nil {
		return err
	}
	now := time.Now()
	var me *membership.Membership
	if q.condor {
		if me, err = client.Membership(ctx, home); err != nil {
			return err
		}
		a.condorHead(me, now)
	}
	cutAt, _ := q.cutAt()
	byJob := q.nobatch || (q.run || q.hold || q.idle || q.cpuTime || q.currentRun) && !q.batch
	switch {
	case q.totals:
	case byJob:
		err = stream(ctx, pool, wire.QueryJobs, sel, q.jobsView(now).to(a.out, cutAt), q.limit)
	default:
		err = batchTable(limited(batches, q.limit), cutAt, q.condor).write(a.out)
	}
	if err != nil {
		return err
	}
	n := count(batches)
	if q.condor {
		return a.condorTotals(ctx, pool, q, me.Name, sel.AllUsers, n)
	}
	if !q.totals {
		fmt.Fprintln(a.out)
	}
	fmt.Fprintln(a.out, n)
	if !q.totals && (!q.hold || q.batch) { // the table of --hold has the reasons
		a.printReasons(batches)
	}
	return nil
}

// numbers of jobs by state.
type numbers struct{ jobs, idle, running, held, suspended int }

func count(batches []wire.BatchRow) (n numbers) {
	for _, b := range batches {
		n.idle += b.Idle
		n.running += b.Running
		n.held += b.Held
		n.suspended += b.Suspended
	}
	n.jobs = n.idle + n.running + n.held + n.suspended
	return n
}

func (n numbers) String() string {
	what := "jobs"
	if n.jobs == 1 {
		what = "job"
	}
	return fmt.Sprintf("%d %s; %d idle, %d running, %d held, %d suspended", n.jobs, what, n.idle, n.running, n.held, n.suspended)
}

// batchTable shows a line for each batch, in HTCondor's columns. In HTCondor's own form suspended jobs are
// counted as idle; ours has a column for them when there are some.
func batchTable(batches []wire.BatchRow, cutAt int, condor bool) *table {
	type numbered struct {
		head  string
		count func(wire.BatchRow) int
	}
	cols := []numbered{
		{"  DONE", func(b wire.BatchRow) int { return b.Done }},
		{"  RUN ", func(b wire.BatchRow) int { return b.Running }},
		{"  IDLE", func(b wire.BatchRow) int { return b.Idle }},
	}
	n := count(batches)
	if condor {
		cols[2].count = func(b wire.BatchRow) int { return b.Idle + b.Suspended }
	} else if n.suspended > 0 {
		cols = append(cols, numbered{"  SUSP", func(b wire.BatchRow) int { return b.Suspended }})
	}
	if n.held > 0 || len(batches) == 0 {
		cols = append(cols, numbered{"  HOLD", func(b wire.BatchRow) int { return b.Held }})
	}
	cols = append(cols, numbered{" TOTAL", func(b wire.BatchRow) int { return b.Total }})

	heads := []string{"OWNER", "BATCH_NAME", "SUBMITTED"}
	for _, c := range cols {
		heads = append(heads, c.head)
	}
	t := newTable(append(heads, "JOB_IDS")...)
	t.cutAt = cutAt
	t.least[1], t.least[2], t.right[2] = 12, 12, true
	if len(batches) > 0 {
		t.least[0], t.least[1] = 8, 10
	}
	for i := range cols {
		t.right[3+i] = true
	}
	for _, b := range batches {
		cells := []string{printable(b.Owner), printable(batchName(b)), moment(b.Submitted.Unix())}
		for _, c := range cols {
			cell := "_"
			if n := c.count(b); n > 0 {
				cell = strconv.Itoa(n)
			}
			cells = append(cells, cell)
		}
		t.add(append(cells, jobIDs(b))...)
	}
	t.paint = func(col int, cell string) string {
		if cell == "_" || col < 3 || col >= 3+len(cols) {
			return ""
		}
		switch cols[col-3].head {
		case "  RUN ":
			return green
		case "  SUSP":
			return yellow
		case "  HOLD":
			return red
		}
		return ""
	}
	return t
}

func batchName(b wire.BatchRow) string {
	if b.Name != "" {
		return b.Name
	}
	return fmt.Sprintf("ID: %d", b.First)
}

// jobIDs writes the first and the last job of a batch as HTCondor does: 1.0, 1.0-9, or 1.0 ... 3.2.
func jobIDs(b wire.BatchRow) string {
	switch {
	case b.FirstJob == b.LastJob:
		return b.FirstJob.String()
	case b.FirstJob.Cluster == b.LastJob.Cluster:
		return fmt.Sprintf("%v-%d", b.FirstJob, b.LastJob.Proc)
	}
	return fmt.Sprintf("%v ... %v", b.FirstJob, b.LastJob)
}

// printReasons says why the first idle job of each batch waits and its first held one is held, batches
// with one reason together.
func (a *app) printReasons(batches []wire.BatchRow) {
	var order []string
	of := map[string][]string{}
	for _, b := range batches {
		for _, r := range []struct{ why, who string }{
			{said("waiting", b.Idle, b.Why), someOf(b, b.FirstIdle, b.Idle)},
			{said("held", b.Held, b.HeldWhy), someOf(b, b.FirstHeld, b.Held)},
			{said("not checkpointable", b.Running+b.Suspended, b.NoImage), batchID(b)},
		} {
			if r.why == "" {
				continue
			}
			if of[r.why] == nil {
				order = append(order, r.why)
			}
			of[r.why] = append(of[r.why], r.who)
		}
	}
	for _, why := range order {
		fmt.Fprintln(a.out, printable(listed(of[why])+" "+why))
	}
	for _, b := range batches {
		if b.Late > 0 {
			fmt.Fprintf(a.out, "%s later: %d of its jobs are made when others have begun or ended\n", batchID(b), b.Late)
		}
	}
}

// someOf names n jobs of a batch, of which one is the first: as the batch if they are all that are left of it.
func someOf(b wire.BatchRow, first job.ID, n int) string {
	switch {
	case n == count([]wire.BatchRow{b}).jobs || first == job.ID{}: // an older matchmaker does not say
		return batchID(b)
	case n == 1:
		return first.String()
	}
	return fmt.Sprintf("%v and %d more", first, n-1)
}

func said(what string, n int, why string) string {
	if n == 0 || why == "" {
		return ""
	}
	return what + ": " + why
}

// batchID names a batch by what commands take: its one job, or its clusters.
func batchID(b wire.BatchRow) string {
	switch {
	case b.FirstJob == b.LastJob && b.Late == 0:
		return b.FirstJob.String()
	case b.First == b.Last:
		return strconv.Itoa(b.First)
	}
	return fmt.Sprintf("%d-%d", b.First, b.Last)
}

// most is how many of many things are named.
const most = 5

// listed writes things with commas, and of many the first ones.
func listed(parts []string) string {
	if n := len(parts) - most; n > 0 {
		parts = append(slices.Clone(parts[:most]), fmt.Sprintf("%d more", n))
	}
	return strings.Join(parts, ", ")
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
	return listed(parts)
}
