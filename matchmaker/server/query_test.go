package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"skua/internal/wire"
)

func TestQueriesComeInPages(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, bob, desk := p.user("u1"), p.user("u2"), p.agent("desk")
		bob.submit(1, "")
		for range 4 {
			ann.submit(3, fmt.Sprintf("Note = %q", strings.Repeat("n", 40<<10)))
		}
		for range 5 {
			desk.advertise("Unclaimed")
			o := desk.offered()
			desk.accept(o)
			desk.advertise("Owner")
			desk.done(o, exited(0))
		}
		// all reads every page of a query and gives the ids of its rows.
		all := func(u *user, q wire.Query) string {
			var ids []string
			for {
				r := u.query(q)
				if r.Fail != nil {
					t.Fatal(r.Fail.What)
				}
				for _, row := range r.Rows {
					var jr wire.JobRow
					if err := json.Unmarshal(row, &jr); err != nil {
						t.Fatal(err)
					}
					ids = append(ids, jr.ID.String())
				}
				if !r.More {
					return strings.Join(ids, " ")
				}
				q.After = r.Next
			}
		}
		for _, limit := range []int{0, 1, 2} {
			for _, tt := range []struct {
				name string
				u    *user
				q    wire.Query
				want string
			}{
				{"jobs", ann, wire.Query{Kind: wire.QueryJobs}, "3.1 3.2 4.0 4.1 4.2 5.0 5.1 5.2"},
				{"all jobs", bob, wire.Query{Kind: wire.QueryJobs, Select: wire.Selection{AllUsers: true}}, "3.1 3.2 4.0 4.1 4.2 5.0 5.1 5.2"},
				{"history", ann, wire.Query{Kind: wire.QueryHistory}, "3.0 2.2 2.1 2.0"},
				{"other history", bob, wire.Query{Kind: wire.QueryHistory}, "1.0"},
				{"fetch", ann, wire.Query{Kind: wire.QueryFetch}, "3.0 2.2 2.1 2.0"},
				{"some", ann, wire.Query{Kind: wire.QueryJobs, Select: wire.Selection{Constraint: "ProcId == 1"}}, "3.1 4.1 5.1"},
			} {
				tt.q.Limit = limit
				if got := all(tt.u, tt.q); got != tt.want {
					t.Errorf("%s, %d at a time: %s, want %s", tt.name, limit, got, tt.want)
				}
			}
		}
		if r := ann.query(wire.Query{Kind: wire.QueryFetch}); r.Capability != "read u1  0" {
			t.Errorf("capability to fetch: %q", r.Capability)
		}
		if r := ann.query(wire.Query{Kind: wire.QueryUpload}); r.Capability != "write u1  0" {
			t.Errorf("capability to upload: %q", r.Capability)
		}
		if r := ann.query(wire.Query{Kind: "horoscope"}); r.Fail == nil {
			t.Error("an unknown query was answered")
		}
		n := 0
		for q := (wire.Query{Kind: wire.QueryEvents, Limit: 3}); ; {
			r := ann.query(q)
			n += len(r.Rows)
			if !r.More {
				break
			}
			q.After = r.Next
		}
		if n != 4+4*3 { // four clusters; four jobs offered, started and ended
			t.Errorf("ann was told of %d events, want 16", n)
		}
	})
}
