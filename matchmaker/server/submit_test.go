package server

import (
	"strings"
	"testing"

	"skua/internal/blob"
	"skua/internal/fit"
	"skua/internal/job"
	"skua/internal/wire"
	"skua/policy/classad"
)

func TestSubmitIsChecked(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		digest := blob.Sum([]byte("in"))
		p.held["u1/"+string(digest)] = true
		for _, tt := range []struct {
			name   string
			change func(*wire.Submit)
			want   string
		}{
			{"good", func(*wire.Submit) {}, ""},
			{"good with inputs", func(s *wire.Submit) { s.Inputs = [][]job.File{{{Name: "in", Digest: digest, Size: 2}}} }, ""},
			{"no request id", func(s *wire.Submit) { s.Request = "" }, "request id"},
			{"a request id that is too long", func(s *wire.Submit) { s.Request = strings.Repeat("r", 101) }, "request id"},
			{"a request id with a control character", func(s *wire.Submit) { s.Request = "r\x01" }, "request id"},
			{"a request id in another script", func(s *wire.Submit) { s.Request = "é" }, "request id"},
			{"no ad", func(s *wire.Submit) { s.Ad = nil }, "no ad"},
			{"no procs", func(s *wire.Submit) { s.Procs = nil }, "0 jobs"},
			{"a null proc", func(s *wire.Submit) { s.Procs[0] = nil }, "no ad"},
			{"no Requirements", func(s *wire.Submit) { s.Ad.Delete("Requirements") }, "no Requirements"},
			{"quoted Requirements", func(s *wire.Submit) { s.Ad.SetString("Requirements", "true") }, "text in quotes"},
			{"no Cmd", func(s *wire.Submit) { s.Ad.Delete("Cmd") }, "Cmd"},
			{"bad Requirements of one proc", func(s *wire.Submit) { s.Procs[1].SetString("Requirements", "x") }, "job 1"},
			{"inputs of another user", func(s *wire.Submit) { s.Inputs = [][]job.File{{{Name: "in", Digest: blob.Sum(nil)}}} }, "not been uploaded"},
			{"inputs that climb out", func(s *wire.Submit) { s.Inputs = [][]job.File{{{Name: "../in", Digest: digest, Size: 2}}} }, "relative path"},
			{"too few input lists", func(s *wire.Submit) {
				s.Procs = append(s.Procs, classad.NewAd())
				s.Inputs = make([][]job.File, 2)
			}, "2 lists of inputs for 3 jobs"},
			{"a huge ad", func(s *wire.Submit) { s.Ad.SetString("Note", strings.Repeat("x", 200<<10)) }, "at most"},
		} {
			s := clusterOf(t, 2, "")
			s.Request = tt.name
			tt.change(&s)
			r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), s)
			switch {
			case tt.want == "" && r.Fail != nil:
				t.Errorf("%s: %s", tt.name, r.Fail.What)
			case tt.want != "" && (r.Fail == nil || !strings.Contains(r.Fail.What, tt.want)):
				t.Errorf("%s: got %+v, want something with %q", tt.name, r.Fail, tt.want)
			}
		}
		if n := len(p.queue.Jobs("")); n != 4 {
			t.Errorf("%d jobs in the queue, want 4", n)
		}
	})
}

// Inputs that a matchmaker may have that does not answer are asked for again, and so is a table.
func TestSubmitWaitsForAnotherMatchmaker(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, digest := p.user("u1"), blob.Sum([]byte("in"))
		s := clusterOf(t, 1, "")
		s.Inputs = [][]job.File{{{Name: "in", Digest: digest, Size: 2}}}
		table := clusterOf(t, 0, "")
		table.Table = &job.TableRef{Digest: blob.Sum([]byte("a table")), Size: 7, Count: 1}
		ask := func(s wire.Submit) *wire.Failure {
			return ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), s).Fail
		}
		p.away = true
		for name, s := range map[string]wire.Submit{"inputs": s, "a table": table} {
			if f := ask(s); f == nil || !f.Again {
				t.Errorf("%s: got %+v, want to be asked again", name, f)
			}
		}
		p.held["u1/"+string(digest)] = true
		if f := ask(s); f != nil {
			t.Errorf("then it got %+v", f)
		}
	})
}

// A job that says nothing of a baseline has the pool's, and a level that there is not is refused.
func TestBaselineOfThePool(t *testing.T) {
	for _, pools := range []fit.Baseline{"", fit.V3} {
		inPoolWith(t, func(p *pool) { p.baseline = pools }, func(t *testing.T, p *pool) {
			ann := p.user("u1")
			for _, tt := range []struct{ says, want, refused string }{
				{"", string(pools), ""},
				{"x86-64-v2", "x86-64-v2", ""},
				{"none", "none", ""},
				{"x86-64-v9", "", "no level of x86-64"},
			} {
				s := clusterOf(t, 1, "")
				s.Request = "says " + tt.says
				if tt.says != "" {
					s.Ad.SetString(fit.AttrBaseline, tt.says)
				}
				r := ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), s)
				if tt.refused != "" {
					if r.Fail == nil || !strings.Contains(r.Fail.What, tt.refused) {
						t.Errorf("a job that says %q: %+v", tt.says, r)
					}
					continue
				}
				if r.Fail != nil {
					t.Fatalf("a job that says %q: %+v", tt.says, r.Fail)
				}
				j, _ := p.queue.Job(job.ID{Cluster: r.Cluster})
				if got, _ := j.CurrentAd().Str(fit.AttrBaseline); got != tt.want {
					t.Errorf("in a pool with %q a job that says %q has %q, want %q", pools, tt.says, got, tt.want)
				}
			}
		})
	}
}

// A disk that is nearly full takes no new jobs; those that are there can be held and removed, and a client that asks
// again is told what it was told before.
func TestNearlyFullDisk(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		s := clusterOf(t, 2, "")
		s.Request = "before"
		submit := func(s wire.Submit) wire.Submitted {
			return ask[wire.Submitted](p, ann.conn, wire.UserSubject("u1", wire.VerbSubmit), s)
		}
		first := submit(s)
		p.full = true
		if again := submit(s); again.Fail != nil || again.Cluster != first.Cluster {
			t.Errorf("a repeated submit got %+v, want %+v", again, first)
		}
		s.Request = "after"
		if r := submit(s); r.Fail == nil || !strings.Contains(r.Fail.What, "99 MB are free, and 100 MB are kept") {
			t.Errorf("a new submit got %+v", r.Fail)
		}
		for _, do := range []wire.ActionVerb{wire.HoldJob, wire.Remove} {
			r := ask[wire.ActionResult](p, ann.conn, wire.UserSubject("u1", wire.VerbAct), wire.Action{V: wire.Version, Do: do, Select: wire.Selection{Clusters: []int{first.Cluster}}})
			if r.Fail != nil || len(r.Done) != 2 {
				t.Errorf("%s: %+v", do, r)
			}
		}
		p.full = false
		if r := submit(s); r.Fail != nil {
			t.Errorf("with room again: %s", r.Fail.What)
		}
	})
}

// What is found of one job of a table is found of all only when what differs has no say in it.
func TestAlikeToCheck(t *testing.T) {
	for _, tt := range []struct {
		common  string
		columns string
		want    bool
	}{
		{`[Cmd = "x"; Requirements = TARGET.Memory > 1]`, "Args Out", true},
		{`[Cmd = "x"; Requirements = TARGET.Memory > RequestMemory; RequestMemory = 1]`, "requestmemory", false},
		{`[Cmd = "x"; Requirements = TARGET.Memory > RequestMemory]`, "RequestMemory", false},
		{`[Cmd = "x"; Requirements = Size > 1; Size = 2 * seed]`, "Seed", false},
		{`[Cmd = strcat("x", seed); Requirements = true]`, "Seed", false},
		{`[Cmd = "x"]`, "Requirements", false},
		{`[Cmd = "x"; Requirements = true]`, "arguments", false},
		{`[Cmd = "x"; Requirements = true]`, "Environment", false},
		{`[Requirements = true]`, "CMD", false},
	} {
		ad, err := classad.ParseAd(tt.common)
		if err != nil {
			t.Fatal(err)
		}
		if got := alikeToCheck(strings.Fields(tt.columns), ad); got != tt.want {
			t.Errorf("%s with rows of %s: %v, want %v", tt.common, tt.columns, got, tt.want)
		}
	}
}
