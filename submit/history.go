package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skua/internal/adnames"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
	"skua/submit/client"
)

// historyView is what the flags of history say beyond the form of the output.
type historyView struct {
	*output
	*jobChoice
	limit, scanLimit    int
	since               string
	completedSince      string
	forwards, backwards bool
	condor              bool // print as condor_history does
}

func (a *app) historyCommand() *cobra.Command {
	h := &historyView{condor: a.as == "condor_history"}
	c := &cobra.Command{
		Use:   "history [CLUSTER | JOB | USER]...",
		Short: "show jobs that have ended, and how",
		Long: `History lists your jobs that have completed (C) or were removed (X), the last one first. EXIT is the exit
code, or the signal that ended the job.

Arguments are clusters (12), jobs (12.3) and users (ann). After -af come expressions, up to the next flag;
letters after a colon say how values are printed:
` + autoformatHelp + queryExits,
		Example: `  skua history
  skua history 12
  skua history -limit 20 -constraint 'ExitCode != 0'
  skua history -since 12                  what ended after the jobs of cluster 12
  skua history -completedsince 2026-11-22
  skua history -af ClusterId ProcId ExitCode RemoteWallClockTime`,
		RunE: func(c *cobra.Command, args []string) error { return a.history(c, h, args) },
	}
	h.output = addOutput(c, "the jobs' ads")
	if h.condor {
		h.emptyList, c.Version = "[\n]\n", version
	}
	h.jobChoice = addJobChoice(c)
	f := c.Flags()
	f.IntVar(&h.limit, "limit", 0, "at most `N` jobs; 0 means all")
	f.StringVar(&h.since, "since", "", "stop at this job or cluster, or at the first job for which it is true: `JOB|EXPR`")
	f.StringVar(&h.completedSince, "completedsince", "", "only jobs that completed at `TIME` or after: 2026-11-22, 2026-11-22T09:00:00 or seconds since 1970")
	f.IntVar(&h.scanLimit, "scanlimit", 0, "look at no more than `N` jobs; 0 means all")
	f.BoolVar(&h.forwards, "forwards", false, "the first one first")
	f.BoolVar(&h.backwards, "backwards", false, "the last one first, as it is without")
	teach(c, "limit", habit{also: []string{"match"}})
	teach(c, "forwards", habit{short: "forw"})
	refuse(c, true, "file", "only the pool's history is read", `"skua classad" works on ads in files`)
	refuse(c, true, "search", "only the pool's history is read", `"skua classad" works on ads in files`)
	refuse(c, true, "userlog", "only the pool's history is read", `"skua wait FILE" follows an event log`)
	refuse(c, false, "startd", "machines keep no history", "leave it out")
	refuse(c, false, "epochs", "runs are not recorded one by one here", "NumJobStarts and the event log tell of them")
	f.Bool("local", false, "")
	f.Lookup("local").Hidden = true
	return c
}

func (h *historyView) check() error {
	switch {
	case h.limit < 0:
		return usage("0 means all", "--limit %d", h.limit)
	case h.scanLimit < 0:
		return usage("0 means all", "--scanlimit %d", h.scanLimit)
	case h.forwards && h.backwards:
		return usage("leave one of them out", "--forwards together with --backwards")
	}
	return h.output.check()
}

// history is the command.
func (a *app) history(c *cobra.Command, h *historyView, args []string) error {
	if err := cmp.Or(refused(c), h.check()); err != nil {
		return err
	}
	var more []string
	if h.completedSince != "" {
		from, err := timeOf(h.completedSince)
		if err != nil {
			return err
		}
		more = append(more, fmt.Sprintf("CompletionDate >= %d", from))
	}
	sel, err := h.selection(args, more...)
	if err != nil {
		return err
	}
	a.doubt(h.constraint, adnames.Job)
	sc, err := newScan(h, &sel)
	if err != nil {
		return err
	}
	var rows rowFormat
	if !h.wholeAds() {
		if rows, err = h.rows(a.out); err != nil {
			return err
		}
	}
	if rows == nil {
		cutAt, _ := h.cutAt()
		rows = historyColumns(h.condor).to(a.out, cutAt)
	}
	pool, _, err := a.connect(c.Context())
	if err != nil {
		return err
	}
	defer pool.Close()
	if h.wholeAds() {
		ads, err := sc.ads(c.Context(), pool, sel)
		if err != nil {
			return err
		}
		return a.printAds(h.output, ads)
	}
	if err := sc.rows(c.Context(), pool, sel, rows); err != nil {
		return err
	}
	return rows.flush()
}

// timeOf reads a time as people and HTCondor write it.
func timeOf(text string) (unix int64, err error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t.Unix(), nil
		}
	}
	return 0, usage("such as 2026-11-22, 2026-11-22T09:00:00, or seconds since 1970", "%q is not a time", text)
}

// scan is how far back history looks. What it stops at and, with a limit on what it looks at, what it shows
// of that is told by expressions that are asked for together with what is printed.
type scan struct {
	limit, look int
	stop, show  string // expressions; empty for none
	forwards    bool
}

func newScan(h *historyView, sel *wire.Selection) (*scan, error) {
	sc := &scan{limit: h.limit, look: h.scanLimit, forwards: h.forwards}
	if sc.look > 0 {
		sc.show, sel.Constraint = sel.Constraint, ""
	}
	if h.since == "" {
		return sc, nil
	}
	if at, err := selection([]string{h.since}); err == nil {
		sc.stop = anyOf(at, nil)
		return sc, nil
	}
	if _, err := classad.ParseExpr(h.since); err != nil {
		return nil, usage("such as 12, 12.3 or 'ClusterId <= 12'", "%q is neither a job nor an expression", h.since)
	}
	sc.stop = h.since
	return sc, nil
}

// extra are the expressions that scan wants to know about each job.
func (sc *scan) extra() (exprs []string) {
	for _, e := range []string{sc.stop, sc.show} {
		if e != "" {
			exprs = append(exprs, e)
		}
	}
	return exprs
}

// judge says from the values of the extra expressions whether a job is shown, and whether it is beyond
// the end.
func (sc *scan) judge(extra []string) (show, end bool) {
	if sc.stop != "" {
		if extra[0] == "true" {
			return false, true
		}
		extra = extra[1:]
	}
	return sc.show == "" || extra[0] == "true", false
}

// rows prints rows of values.
func (sc *scan) rows(ctx context.Context, pool *client.Client, sel wire.Selection, to rowFormat) error {
	cols := to.columns()
	n := len(cols)
	looked, shown := 0, 0
	var kept [][]string
	err := pool.Columns(ctx, wire.QueryHistory, sel, append(cols, sc.extra()...), sc.most(), func(values []string) error {
		show, end := sc.judge(values[n:])
		if end {
			return client.ErrEnough
		}
		if show && sc.forwards {
			kept = append(kept, slices.Clone(values[:n]))
		} else if show {
			to.row(values[:n])
		}
		if show {
			shown++
		}
		if looked++; looked == sc.look || !sc.forwards && sc.limit > 0 && shown == sc.limit {
			return client.ErrEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, client.ErrEnough) {
		return err
	}
	slices.Reverse(kept)
	for _, values := range limited(kept, sc.limit) {
		to.row(values)
	}
	return nil
}

// most is how many rows need to be asked for; 0 means all.
func (sc *scan) most() int {
	if sc.forwards || sc.stop != "" || sc.show != "" {
		return sc.look
	}
	if sc.look == 0 || sc.limit == 0 {
		return max(sc.look, sc.limit)
	}
	return min(sc.look, sc.limit)
}

// ads gives whole ads.
func (sc *scan) ads(ctx context.Context, pool *client.Client, sel wire.Selection) ([]*classad.Ad, error) {
	found, err := pool.History(ctx, sel, sc.most())
	if err != nil {
		return nil, err
	}
	var ads []*classad.Ad
	for _, ad := range adsOf(found) {
		var extra []string
		for _, e := range sc.extra() {
			extra = append(extra, valueIn(ad, e))
		}
		show, end := sc.judge(extra)
		if end {
			break
		}
		if show {
			ads = append(ads, ad)
		}
	}
	if sc.forwards {
		slices.Reverse(ads)
	}
	return limited(ads, sc.limit), nil
}

// valueIn is the value of an expression in an ad, as the matchmaker would send it.
func valueIn(ad *classad.Ad, expr string) string {
	e, err := classad.ParseExpr(expr)
	if err != nil {
		return "error"
	}
	return e.Eval(ad, nil).String()
}

// historyColumns are the columns of history, or in HTCondor's form those of condor_history.
func historyColumns(condor bool) view {
	completed := column{
		head: "COMPLETED", least: 11, left: true, from: []string{"CompletionDate", "EnteredCurrentStatus"},
		show: func(v []string) string {
			if at, _ := intOf(v[0]); at > 0 || condor {
				return moment(at)
			}
			at, _ := intOf(v[1]) // when it was removed
			return moment(at)
		},
	}
	runTime := runTimeColumn(time.Time{}, false)
	if !condor {
		return view{idColumn, ownerColumn, submittedColumn, runTime, stateColumn, completed, exitColumn, commandColumn}
	}
	id, submitted, cmd := idColumn, submittedColumn, commandColumn
	id.least, submitted.left, runTime.left = -7, true, true
	id.show = func(v []string) string { return v[0] + "." + v[1] }
	cmd.show = func(v []string) string { // the whole path, unlike condor_q
		return strings.TrimSpace(textOf(v[0]) + " " + cmp.Or(textOf(v[1]), textOf(v[2])))
	}
	return view{id, ownerColumn, submitted, runTime, stateColumn, completed, cmd}
}

var exitColumn = column{
	head: "EXIT", least: -4, from: []string{"JobStatus", "ExitSignal", "ExitCode"},
	show: func(v []string) string {
		if state, _ := intOf(v[0]); job.State(state) == job.Removed {
			return "removed"
		}
		if sig, ok := intOf(v[1]); ok {
			return fmt.Sprintf("signal %d", sig)
		}
		return textOf(v[2])
	},
}

// exitOf says how a job ended, in a word.
func exitOf(ad *classad.Ad) string {
	values := make([]string, len(exitColumn.from))
	for i, e := range exitColumn.from {
		values[i] = valueIn(ad, e)
	}
	return exitColumn.show(values)
}
