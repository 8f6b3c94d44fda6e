package server

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
	"skua/matchmaker/history"
)

// history asks for one page after another, and gives the ids of the jobs, or the rows with the columns.
func (u *user) history(sel wire.Selection, limit int, columns ...string) string {
	u.t.Helper()
	var rows []string
	q := wire.Query{Kind: wire.QueryHistory, Select: sel, Limit: limit, Columns: columns}
	for {
		r := u.query(q)
		if r.Fail != nil {
			u.t.Fatal(r.Fail.What)
		}
		for _, row := range r.Rows {
			var jr wire.JobRow
			if len(columns) > 0 {
				rows = append(rows, string(row))
				continue
			}
			if err := json.Unmarshal(row, &jr); err != nil {
				u.t.Fatal(err)
			}
			rows = append(rows, jr.ID.String())
		}
		if !r.More {
			return strings.Join(rows, " ")
		}
		q.After = r.Next
	}
}

// Of eight jobs that were removed, memory has the last two. The answers are as if it had all.
func TestHistoryGoesOnOnDisk(t *testing.T) {
	past, err := history.Open(history.Config{Dir: t.TempDir(), MaxFile: 2000})
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	inPoolWith(t, func(p *pool) { p.past, p.memory = past, 2 }, func(t *testing.T, p *pool) {
		ann, bob := p.user("u1"), p.user("u2")
		for _, u := range []*user{ann, bob, ann, ann} {
			id := u.submit(2, "")
			u.act(wire.Remove, id, job.ID{Cluster: id.Cluster, Proc: 1})
		}
		ann.submit(1, "") // is still there
		if n := len(p.queue.History("")); n != 2 {
			t.Fatalf("memory has %d jobs, want 2", n)
		}
		for range 2 {
			for _, limit := range []int{0, 1, 3} {
				for _, tt := range []struct {
					name string
					u    *user
					sel  wire.Selection
					want string
				}{
					{"ann's", ann, wire.Selection{}, "4.1 4.0 3.1 3.0 1.1 1.0"},
					{"bob's", bob, wire.Selection{}, "2.1 2.0"},
					{"everybody's", bob, wire.Selection{AllUsers: true}, "4.1 4.0 3.1 3.0 2.1 2.0 1.1 1.0"},
					{"some", ann, wire.Selection{Clusters: []int{3, 2, 5}, Jobs: []job.ID{{Cluster: 1, Proc: 1}, {Cluster: 4}}}, "4.0 3.1 3.0 1.1"},
					{"one", ann, wire.Selection{Jobs: []job.ID{{Cluster: 1}}}, "1.0"},
					{"by what they are", ann, wire.Selection{Constraint: "ProcId == 0 && JobStatus == 3"}, "4.0 3.0 1.0"},
				} {
					if got := tt.u.history(tt.sel, limit); got != tt.want {
						t.Errorf("%s, %d at a time: got %s, want %s", tt.name, limit, got, tt.want)
					}
				}
			}
			if got, want := ann.history(wire.Selection{Clusters: []int{1, 4}}, 0, "ClusterId", "RemoveReason"), `["4","\"removed by its user\""]`; strings.Count(got, "[") != 4 || strings.Contains(got, "undefined") {
				t.Errorf("columns are %s, want four like %s", got, want)
			}
			p.stop()
			p.run()
		}
	})
}

// A job that ended long ago and whose outputs wait is in memory. Later ones that are not are listed all the same, however
// long the pages are.
func TestHistoryAfterAnOldJobInMemory(t *testing.T) {
	past, err := history.Open(history.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	inPoolWith(t, func(p *pool) { p.past, p.memory = past, 1 }, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		ann.submit(1, "")
		desk.done(desk.start(), exited(0))
		id := ann.submit(3, "")
		for proc := range 3 {
			time.Sleep(time.Minute)
			ann.act(wire.Remove, job.ID{Cluster: id.Cluster, Proc: proc})
		}
		for _, limit := range []int{0, 1, 2, 3} {
			if got, want := ann.history(wire.Selection{}, limit), "2.2 1.0 2.1 2.0"; got != want {
				t.Errorf("%d at a time: got %s, want %s", limit, got, want)
			}
		}
	})
}
