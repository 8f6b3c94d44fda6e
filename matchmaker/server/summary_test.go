package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"skua/internal/job"
	"skua/internal/wire"
)

// TestSummaryOfClustersByNumber: a name and arguments may have the cluster's number in them.
func TestSummaryOfClustersByNumber(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		for range 2 {
			ann.submit(2, `JobBatchName = strcat("sweep ", ClusterId); Arguments = strcat("-c ", ClusterId, " ", ProcId)`)
		}
		ann.submit(1, `JobBatchName = strcat("sweep ", 1)`)
		ann.submit(1, `JobBatchName = Nothing`)
		var got []wire.BatchRow
		for _, raw := range ann.query(wire.Query{Kind: wire.QuerySummary}).Rows {
			var row wire.BatchRow
			if err := json.Unmarshal(raw, &row); err != nil {
				t.Fatal(err)
			}
			got = append(got, row)
		}
		want := []wire.BatchRow{
			{Name: "sweep 1", Command: "sim -c 1 0", Total: 3},
			{Name: "sweep 2", Command: "sim -c 2 0", Total: 2},
			{Command: "sim", Total: 1},
		}
		if len(got) != len(want) {
			t.Fatalf("%d batches, want %d: %+v", len(got), len(want), got)
		}
		for i, w := range want {
			if g := got[i]; g.Name != w.Name || g.Command != w.Command || g.Total != w.Total {
				t.Errorf("batch %d is %q of %d jobs, %q; want %q of %d, %q", i, g.Name, g.Total, g.Command, w.Name, w.Total, w.Command)
			}
		}
	})
}

// TestSummaryPagesWhileJobsEnd: each batch comes once, though its first job has ended meanwhile, or its first cluster.
func TestSummaryPagesWhileJobsEnd(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		named := `JobBatchName = "sweep"`
		for _, attrs := range []string{named, "", named, "", named, `JobBatchName = "fit"`} {
			ann.submit(2, attrs)
		}
		whole := ann.query(wire.Query{Kind: wire.QuerySummary})
		read := func(raw json.RawMessage) string {
			var row wire.BatchRow
			if err := json.Unmarshal(raw, &row); err != nil {
				t.Fatal(err)
			}
			ann.act(wire.Remove, row.FirstJob)
			if row.Name == "sweep" {
				ann.act(wire.Remove, job.ID{Cluster: 1, Proc: 1})
			}
			return cmp.Or(row.Name, fmt.Sprint(row.First))
		}
		var got []string
		for q := (wire.Query{Kind: wire.QuerySummary, Limit: 1}); ; {
			res := ann.query(q)
			for _, raw := range res.Rows {
				got = append(got, read(raw))
			}
			if !res.More || len(got) > 4 {
				break
			}
			q.After = res.Next
		}
		slices.Sort(got)
		if want := []string{"2", "4", "fit", "sweep"}; !slices.Equal(got, want) {
			t.Errorf("the pages have %q, want %q", got, want)
		}
		got = nil
		for _, raw := range whole.Rows {
			got = append(got, read(raw))
		}
		if want := []string{"sweep", "2", "4", "fit"}; !slices.Equal(got, want) {
			t.Errorf("one page has %q, want %q", got, want)
		}
	})
}

// TestSummaryNamesWhoWaits: of a batch, some of whose jobs run, those are named that wait and are held.
func TestSummaryNamesWhoWaits(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		desk.advertise("Unclaimed")
		runs := ann.submit(3, "")
		desk.accept(desk.offered())
		held := job.ID{Cluster: runs.Cluster, Proc: 2}
		ann.act(wire.HoldJob, held)
		var row wire.BatchRow
		if err := json.Unmarshal(ann.query(wire.Query{Kind: wire.QuerySummary}).Rows[0], &row); err != nil {
			t.Fatal(err)
		}
		if want := (job.ID{Cluster: runs.Cluster, Proc: 1}); row.FirstIdle != want || row.FirstHeld != held {
			t.Errorf("%v waits and %v is held, want %v and %v", row.FirstIdle, row.FirstHeld, want, held)
		}
	})
}
