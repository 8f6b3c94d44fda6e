package server

import (
	"encoding/json"
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

// TestSummaryPagesWhileJobsEnd: no batch comes twice because its first job has ended meanwhile.
func TestSummaryPagesWhileJobsEnd(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann := p.user("u1")
		for range 3 {
			ann.submit(2, "")
		}
		var got []int
		for q := (wire.Query{Kind: wire.QuerySummary, Limit: 1}); ; {
			res := ann.query(q)
			for _, raw := range res.Rows {
				var row wire.BatchRow
				if err := json.Unmarshal(raw, &row); err != nil {
					t.Fatal(err)
				}
				got = append(got, row.First)
				ann.act(wire.Remove, row.FirstJob)
			}
			if !res.More || len(got) > 3 {
				break
			}
			q.After = res.Next
		}
		if len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != 3 {
			t.Errorf("the pages have the clusters %v, want 1, 2 and 3", got)
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
