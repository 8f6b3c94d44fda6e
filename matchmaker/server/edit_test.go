package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skua/internal/adnames"
	"skua/internal/job"
	"skua/internal/wire"
)

// set edits jobs, or their priority.
func (u *user) set(do wire.ActionVerb, sel wire.Selection, set ...job.Assigned) wire.ActionResult {
	u.t.Helper()
	return ask[wire.ActionResult](u.pool, u.conn, wire.UserSubject(u.id, wire.VerbAct),
		wire.Action{V: wire.Version, Do: do, Select: sel, Set: set})
}

func TestEdit(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob := p.user("u1"), p.user("u2")
		id := ann.submit(2, "")
		one := wire.Selection{Jobs: []job.ID{id}}
		for _, tt := range []struct {
			name, expr string
			want       string // of the failure, or of why not; "" when it is done
		}{
			{"RequestMemory", "2048", ""},
			{"JobBatchName", `"night run"`, ""},
			{"Requirements", "TARGET.Memory >= RequestMemory", ""},
			{"Mine", "undefined", ""},
			{"TransferExecutable", "false", "were taken when it was submitted"},
			{"ClusterId", "7", "ClusterId cannot be edited: it says which job this is"},
			{"procid", "7", "it says which job this is"},
			{"Owner", `"bob"`, "it says whose job this is"},
			{"User", `"bob"`, "it says whose job this is"},
			{"JobStatus", "4", "it follows from what happens to the job"},
			{"QDate", "0", "the matchmaker keeps it itself"},
			{"MemoryUsage", "0", "the matchmaker keeps it itself"},
			{"Cmd", `"/bin/other"`, "its program was taken when it was submitted"},
			{"Requirements", `"Memory > 1"`, "a text in quotes"},
			{"Arguments", `"'a"`, "quote"},
			{"RequestMemory", "2 GB", "RequestMemory = 2 GB"},
			{"no name", "1", "is not the name of an attribute"},
			{"Long", `"` + strings.Repeat("x", maxAssignment) + `"`, "more than"},
		} {
			r := ann.set(wire.Edit, one, job.Assigned{Name: tt.name, Expr: tt.expr})
			got := r.Not["1.0"]
			if r.Fail != nil {
				got = r.Fail.What
			}
			if (tt.want == "") != (len(r.Done) == 1) || !strings.Contains(got, tt.want) {
				t.Errorf("%s = %.40s: done %v, but %q, want %q", tt.name, tt.expr, r.Done, got, tt.want)
			}
		}
		ad := p.job(id).CurrentAd()
		if n, _ := ad.Int("RequestMemory"); n != 2048 {
			t.Errorf("RequestMemory is %d", n)
		}
		if _, ok := p.job(job.ID{Cluster: 1, Proc: 1}).CurrentAd().Int("RequestMemory"); ok {
			t.Error("the other job of the cluster has changed as well")
		}
		if r := bob.set(wire.Edit, one, job.Assigned{Name: "A", Expr: "1"}); r.Not["1.0"] != "you have no such job" {
			t.Errorf("bob editing ann's job got %+v", r)
		}
		if r := ann.set(wire.Edit, one); r.Fail == nil {
			t.Errorf("setting nothing got %+v", r)
		}
	})
}

// Arguments and environment can be said in two forms, of which a run heeds one: the one that was edited last.
func TestEditOfEitherForm(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		for _, tt := range []struct {
			name, attrs string
			edits       [][]job.Assigned
			want        string // arguments | environment
		}{
			{"the old form over the new", `Arguments = "old"; Environment = "A=1"; `, [][]job.Assigned{{{Name: "Args", Expr: `"new"`}, {Name: "Env", Expr: `"B=2"`}}}, "new | B=2"},
			{"the new form over the old", `Args = "old"; Env = "A=1"; `, [][]job.Assigned{{{Name: "arguments", Expr: `"'n w'"`}, {Name: "Environment", Expr: `"B=2 C=3"`}}}, "n w | B=2 C=3"},
			{"there and back", `Args = "old"; `, [][]job.Assigned{{{Name: "Arguments", Expr: `"new"`}}, {{Name: "Args", Expr: `"again"`}}}, "again | "},
			{"one is taken away that is not there", `Args = "old"; `, [][]job.Assigned{{{Name: "Arguments", Expr: "UNDEFINED"}}}, "old | "},
			{"both", `Args = "old"; `, [][]job.Assigned{{{Name: "Arguments", Expr: `"new"`}, {Name: "Args", Expr: `"other"`}}}, "new | "},
			{"neither", `Arguments = "old"; `, [][]job.Assigned{{{Name: "JobPrio", Expr: "1"}}}, "old | "},
		} {
			id := ann.submit(2, tt.attrs)
			for _, set := range tt.edits {
				if r := ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, set...); len(r.Done) != 1 {
					t.Errorf("%s: editing got %+v", tt.name, r)
				}
			}
			c, err := job.CommandOf(p.job(id).CurrentAd())
			if got := strings.Join(c.Argv[1:], "|") + " | " + strings.Join(c.Env, " "); err != nil || got != tt.want {
				t.Errorf("%s: the job runs with %s (%v), want %s", tt.name, got, err, tt.want)
			}
			c, err = job.CommandOf(p.job(job.ID{Cluster: id.Cluster, Proc: 1}).CurrentAd())
			if err != nil || !slices.Equal(c.Argv[1:], []string{"old"}) {
				t.Errorf("%s: the other job of the cluster runs with %q (%v)", tt.name, c.Argv, err)
			}
		}
	})
}

// A slip of the finger makes an attribute of one's own, which is said and not refused.
func TestEditOfAMisspeltName(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		id := ann.submit(1, "RequestGPUs = 1")
		for _, tt := range []struct{ name, want string }{
			{"Requirments", "Requirments is an attribute of your own; did you mean Requirements?"},
			{"Requirments", ""}, // it has it by now
			{"Requirements", ""},
			{"RequestGPUs", ""},
			{"Colour", ""},
		} {
			r := ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: tt.name, Expr: "true"})
			if len(r.Done) != 1 || r.Note != tt.want {
				t.Errorf("%s: done %v with the note %q, want %q", tt.name, r.Done, r.Note, tt.want)
			}
		}
		r := ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{{Cluster: 99}}}, job.Assigned{Name: "Requirements", Expr: "true"})
		if r.Note != "" {
			t.Errorf("of no job it is said that %q", r.Note)
		}
	})
}

func TestEditOfARunningJob(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		id := ann.submit(1, "RequestMemory = 10")
		o := desk.offered()
		desk.accept(o)
		r := ann.set(wire.Edit, wire.Selection{Jobs: []job.ID{id}}, job.Assigned{Name: "RequestMemory", Expr: "20"})
		if len(r.Done) != 1 || r.Note != "jobs that run now heed RequestMemory at their next start" {
			t.Errorf("editing got %+v", r)
		}
		p.wantState(id, job.Running)
		desk.done(o, wire.Done{Outcome: wire.Evicted, Reason: "the owner is back"})
		desk.advertise("Unclaimed")
		time.Sleep(firstRest)
		o = desk.offered()
		if n, _ := o.Ad.Int("RequestMemory"); n != 20 {
			t.Errorf("the next offer has RequestMemory %d", n)
		}
	})
}

func TestPrio(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		id := ann.submit(2, "JobPrio = 3")
		bare := ann.submit(1, "")
		for _, tt := range []struct {
			id   job.ID
			expr string
			want int64
			not  string
		}{
			{id, "7", 7, ""},
			{id, "JobPrio + 10", 17, ""},
			{id, "-5", -5, ""},
			{bare, "JobPrio + 10", 10, ""},
			{id, "JobPrio * Nothing", -5, "JobPrio * Nothing gives undefined there"},
			{id, "1 << 40", -5, ""},
			{id, "5000000000", -5, "not a whole number of 32 bits"},
		} {
			r := ann.set(wire.Prio, wire.Selection{Jobs: []job.ID{tt.id}}, job.Assigned{Expr: tt.expr})
			if r.Fail != nil {
				if tt.expr != "1 << 40" {
					t.Errorf("%s: %s", tt.expr, r.Fail.What)
				}
				continue
			}
			if got, _ := p.job(tt.id).CurrentAd().Int("JobPrio"); got != tt.want || !strings.Contains(r.Not[tt.id.String()], tt.not) {
				t.Errorf("%s: JobPrio is %d, want %d; not %v", tt.expr, got, tt.want, r.Not)
			}
		}
	})
}

// An action on more jobs than one answer takes goes on where it was, so that each job is met once.
func TestManyJobsAreActedOnInSteps(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		const procs = maxActed + maxActed/2
		id := ann.submit(procs, "JobPrio = 1")
		ann.act(wire.Remove, job.ID{Cluster: id.Cluster, Proc: 3})
		a := wire.Action{V: wire.Version, Do: wire.Prio, Select: wire.Selection{Clusters: []int{id.Cluster}}, Set: []job.Assigned{{Expr: "JobPrio + 1"}}}
		var done []int
		for {
			r := ask[wire.ActionResult](p, ann.conn, wire.UserSubject("u1", wire.VerbAct), a)
			if r.Fail != nil {
				t.Fatal(r.Fail.What)
			}
			done = append(done, len(r.Done))
			if !r.More {
				break
			}
			a.After = r.Next
		}
		if got := fmt.Sprint(done); got != fmt.Sprint([]int{maxActed, maxActed/2 - 1}) {
			t.Errorf("done in steps of %s", got)
		}
		for _, j := range p.queue.Jobs("u1") {
			if n, _ := j.CurrentAd().Int("JobPrio"); n != 2 {
				t.Fatalf("job %v has priority %d", j.ID, n)
			}
		}
	})
}

// A cluster whose jobs enter the queue one after another is edited as far as they have.
func TestEditOfALateCluster(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		ann.submit(5, "JobMaterializeLimit = 2; JobPrio = 1; ")
		r := ann.set(wire.Prio, wire.Selection{Clusters: []int{1}}, job.Assigned{Expr: "7"})
		if len(r.Done) != 2 || r.Note != "jobs of cluster 1 that are yet to enter the queue are as it was submitted" {
			t.Errorf("got %+v", r)
		}
	})
}

// TestNamesOfJobsAreKnown: what people edit and what the queue says of a job is not doubted where users write it.
func TestNamesOfJobsAreKnown(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		id := ann.submit(1, "")
		desk.done(desk.start(), exited(3))
		for _, name := range slices.Concat(editable, p.job(id).CurrentAd().Flat().Names()) {
			if !slices.Contains(adnames.Job, name) {
				t.Errorf("package adnames does not know %s", name)
			}
		}
	})
}

// The limits of late materialization are the cluster's: an edit of it changes how many of its jobs enter the queue.
func TestEditOfLateLimits(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		late := ann.submit(8, "JobMaterializeLimit = 2; ")
		ann.submit(2, "")
		present := func() int { return len(p.queue.Jobs("u1")) - 2 }
		limit := func(expr string, sel wire.Selection) wire.ActionResult {
			r := ann.set(wire.Edit, sel, job.Assigned{Name: "JobMaterializeLimit", Expr: expr})
			synctest.Wait()
			return r
		}
		for _, tt := range []struct {
			expr string
			sel  wire.Selection
			says string
		}{
			{"3", wire.Selection{Jobs: []job.ID{late}}, "JobMaterializeLimit is of a whole cluster"},
			{"3", wire.Selection{}, "JobMaterializeLimit is of a whole cluster"},
			{"3", wire.Selection{Clusters: []int{2}}, "JobMaterializeLimit of cluster 2 cannot be edited: no job of it is yet to enter the queue"},
			{"0", wire.Selection{Clusters: []int{1}}, "JobMaterializeLimit = 0 is no limit"},
			{"many", wire.Selection{Clusters: []int{1}}, "JobMaterializeLimit = many is no limit"},
		} {
			if r := limit(tt.expr, tt.sel); r.Fail == nil || r.Fail.What != tt.says {
				t.Errorf("%s for %+v got %+v", tt.expr, tt.sel, r.Fail)
			}
		}
		for _, tt := range []struct {
			expr string
			want int // jobs in the queue
		}{{"5", 5}, {"1", 5}, {"6", 6}} {
			if r := limit(tt.expr, wire.Selection{Clusters: []int{1}}); r.Fail != nil || r.Note != "" {
				t.Fatalf("%s got %+v", tt.expr, r)
			}
			if got := present(); got != tt.want {
				t.Errorf("with a limit of %s %d jobs are in the queue, want %d", tt.expr, got, tt.want)
			}
		}
		p.stop()
		p.run()
		if got := present(); got != 6 {
			t.Errorf("after a restart %d jobs are in the queue", got)
		}
		if limit("undefined", wire.Selection{Clusters: []int{1}}); present() != 8 {
			t.Errorf("without a limit %d jobs are in the queue", present())
		}
	})
}
