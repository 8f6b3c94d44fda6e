package server

import (
	"encoding/json"
	"testing"

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
