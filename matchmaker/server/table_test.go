package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"skua/internal/blob"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/queue"
	"skua/policy/classad"
)

// tabled gives a submit whose jobs, which differ in Args, are a table.
func tabled(t *testing.T, procs int, attrs string) wire.Submit {
	t.Helper()
	s := clusterOf(t, procs, attrs)
	for i, ad := range s.Procs {
		ad.SetString("Args", fmt.Sprint(i))
	}
	return encodeTable(t, s)
}

func encodeTable(t *testing.T, s wire.Submit) wire.Submit {
	t.Helper()
	data, err := job.EncodeTable(s.Ad, s.Procs, s.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	s.Table = &job.TableRef{Inline: data, Size: int64(len(data)), Count: len(s.Procs)}
	s.Procs, s.Inputs = nil, nil
	return s
}

func TestTablesAreChecked(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		inputs := func(f job.File) func(*wire.Submit) {
			return func(s *wire.Submit) {
				c := clusterOf(t, 3, "")
				c.Inputs = [][]job.File{nil, nil, {f}}
				*s = encodeTable(t, c)
			}
		}
		row := func(attr string, value *classad.Expr) func(*wire.Submit) {
			return func(s *wire.Submit) {
				c := clusterOf(t, 3, "")
				c.Procs[1].Set(attr, value)
				*s = encodeTable(t, c)
			}
		}
		for _, tt := range []struct {
			name   string
			change func(*wire.Submit)
			want   string
		}{
			{"good", func(*wire.Submit) {}, ""},
			{"no rows", func(s *wire.Submit) { s.Table.Count = 0 }, "0 jobs"},
			{"too many rows", func(s *wire.Submit) { s.Table.Count = 1 << 40 }, "jobs in a submit"},
			{"another count", func(s *wire.Submit) { s.Table.Count = 4 }, "has 3 rows"},
			{"jobs beside it", func(s *wire.Submit) { s.Procs = []*classad.Ad{classad.NewAd()} }, "both"},
			{"nothing", func(s *wire.Submit) { s.Table.Inline = nil }, "inline"},
			{"rubbish", func(s *wire.Submit) { s.Table.Inline = []byte("rubbish") }, "cannot be read"},
			{"somebody else's", func(s *wire.Submit) { s.Table.Inline, s.Table.Digest = nil, blob.Sum(nil) }, "not been uploaded"},
			{"too large to be inline", func(s *wire.Submit) { s.Table.Inline = make([]byte, job.MaxInlineTable+1) }, "cannot be inline"},
			{"a job without Cmd", row("Cmd", undefined(t)), "job 1: the job has no Cmd"},
			{"a job with Requirements in quotes", row("Requirements", quoted(t)), "job 1: its Requirements"},
			{"a file that climbs out", inputs(job.File{Name: "../x"}), "inputs of job 2"},
			{"a file that is not there", inputs(job.File{Name: "x", Size: 1, Digest: blob.Sum(nil)}), "has not been uploaded"},
		} {
			s := tabled(t, 3, "")
			tt.change(&s)
			s.Request = tt.name
			r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), s)
			switch {
			case tt.want == "" && r.Fail != nil:
				t.Errorf("%s: %s", tt.name, r.Fail.What)
			case tt.want != "" && (r.Fail == nil || !strings.Contains(r.Fail.What, tt.want)):
				t.Errorf("%s: got %+v, want something with %q", tt.name, r.Fail, tt.want)
			}
		}
		if n := len(p.queue.Jobs("")); n != 3 {
			t.Errorf("%d jobs in the queue, want 3", n)
		}
	})
}

func undefined(t *testing.T) *classad.Expr { return expr(t, "undefined") }
func quoted(t *testing.T) *classad.Expr    { return expr(t, `"true"`) }

func expr(t *testing.T, text string) *classad.Expr {
	t.Helper()
	e, err := classad.ParseExpr(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestLateJobs: jobs enter the queue one after another as those before them end, run, and stay away when their cluster
// is removed.
func TestLateJobs(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("a1")
		r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), tabled(t, 5, "JobMaterializeLimit = 1"))
		if r.Fail != nil {
			t.Fatal(r.Fail.What)
		}
		rows := func() string {
			var out []string
			for _, raw := range ann.query(wire.Query{Kind: wire.QueryJobs}).Rows {
				var row wire.JobRow
				if err := json.Unmarshal(raw, &row); err != nil {
					t.Fatal(err)
				}
				out = append(out, row.ID.String())
			}
			for _, raw := range ann.query(wire.Query{Kind: wire.QueryComing}).Rows {
				out = append(out, string(raw))
			}
			return strings.Join(out, " ")
		}
		if got := rows(); got != `1.0 {"cluster":1,"from":1,"upto":5}` {
			t.Errorf("at first the queue has %s", got)
		}
		for proc := range 2 {
			desk.advertise("Unclaimed")
			o := desk.offered()
			if args, _ := o.Ad.Str("Args"); args != fmt.Sprint(proc) || o.Job.Proc != proc {
				t.Errorf("job %v was offered with %q", o.Job, args)
			}
			desk.accept(o)
			desk.done(o, exited(0))
		}
		if got := rows(); got != `1.2 {"cluster":1,"from":3,"upto":5}` {
			t.Errorf("after two jobs the queue has %s", got)
		}
		var batch wire.BatchRow
		summary := ann.query(wire.Query{Kind: wire.QuerySummary})
		if len(summary.Rows) != 1 || json.Unmarshal(summary.Rows[0], &batch) != nil ||
			batch.Total != 5 || batch.Done != 2 || batch.Idle != 3 || batch.Late != 2 || batch.FirstJob.Proc != 2 || batch.Command != "sim 2" || batch.Why == "" {
			t.Errorf("the summary is %s", summary.Rows)
		}
		done := ask[wire.ActionResult](p, ann.conn, wire.UserSubject("u1", wire.VerbAct),
			wire.Action{V: wire.Version, Do: wire.Remove, Select: wire.Selection{Clusters: []int{1}}})
		synctest.Wait()
		if fmt.Sprint(done.Done) != "[1.2]" {
			t.Errorf("removed are %v, %v", done.Done, done.Not)
		}
		if got := rows(); got != "" {
			t.Errorf("of a removed cluster comes %s", got)
		}
		p.stop()
		p.run()
		if got := rows(); got != "" {
			t.Errorf("after a restart comes %s", got)
		}
	})
}

func TestColumns(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		s := tabled(t, 3, `Note = "a \"b\" \\ é"; JobPrio = 4; List = { 1, ProcId }`)
		if r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), s); r.Fail != nil {
			t.Fatal(r.Fail.What)
		}
		cols := []string{"ProcId", "Args", "Note", "JobPrio * 2.5", "Nothing", "List", "JobStatus == 1"}
		q := wire.Query{Kind: wire.QueryJobs, Columns: cols, Limit: 2}
		var got [][]string
		for {
			res := ann.query(q)
			if res.Fail != nil {
				t.Fatal(res.Fail.What)
			}
			for _, raw := range res.Rows {
				var row []string
				if err := json.Unmarshal(raw, &row); err != nil {
					t.Fatal(err)
				}
				got = append(got, row)
			}
			if q.After = res.Next; !res.More {
				break
			}
		}
		view := 0
		p.queue.Walk(queue.Filter{Live: true}, func(j *job.Job) bool {
			for i, text := range cols {
				if want := expr(t, text).Eval(j.CurrentAd(), nil).String(); got[view][i] != want {
					t.Errorf("job %v: %s is %s, want %s", j.ID, text, got[view][i], want)
				}
			}
			view++
			return true
		})
		if len(got) != 3 || view != 3 {
			t.Errorf("%d rows for %d jobs", len(got), view)
		}
		for _, cols := range [][]string{{"1 +"}, make([]string, maxColumns+1), {strings.Repeat("x", maxColumnBytes+1)}} {
			if res := ann.query(wire.Query{Kind: wire.QueryJobs, Columns: cols}); res.Fail == nil {
				t.Errorf("%d columns, the first %.10q, were taken", len(cols), cols[0])
			}
		}
	})
}
