package server

import (
	"encoding/json"
	"testing"
	"time"

	"skua/internal/job"
	"skua/internal/wire"
)

// Outputs that nobody fetches are given up in time, and not before those who waited for a matchmaker could come.
func TestOutputsAreGivenUp(t *testing.T) {
	for _, tt := range []struct {
		name string
		away bool // the matchmaker, meanwhile
		act  wire.ActionVerb
		want string // what is logged in the end
	}{
		{name: "nobody comes", want: "submitted offered started ended delivered"},
		{name: "nobody can come", away: true, want: "submitted offered started ended delivered"},
		{name: "fetched", act: wire.Deliver, want: "submitted offered started ended delivered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inPool(t, func(t *testing.T, p *pool) {
				ann, desk := p.user("u1"), p.agent("desk")
				id := ann.submit(1, "")
				desk.done(desk.start(), exited(0))
				if tt.act != "" {
					ann.act(tt.act, id)
				}
				if tt.away {
					p.stop()
				}
				time.Sleep(keepResults)
				if tt.away {
					time.Sleep(keepResults)
					p.run()
					time.Sleep(sweepEvery - time.Second)
				}
				if got := p.job(id).Delivered; got != (tt.act != "") {
					t.Errorf("before the time is over the job is delivered: %v", got)
				}
				time.Sleep(2 * sweepEvery)
				if got := p.kinds(id); got != tt.want {
					t.Errorf("logged: %s\nwant:   %s", got, tt.want)
				}
				page, err := p.queue.Events(t.Context(), "u1", 0, 100)
				if err != nil {
					t.Fatal(err)
				}
				d, _ := page.Events[len(page.Events)-1].Body.(*job.Delivered)
				if d == nil || d.Expired != (tt.act == "") {
					t.Errorf("the last event is %+v", d)
				}
			})
		})
	}
}

// Who asks for jobs with outputs that have not been fetched is not shown all that have ended.
func TestUndeliveredJobs(t *testing.T) {
	inPool(t, func(t *testing.T, p *pool) {
		ann, desk := p.user("u1"), p.agent("desk")
		var ids []job.ID
		for range 3 {
			ids = append(ids, ann.submit(1, ""))
			desk.done(desk.start(), exited(0))
		}
		ann.act(wire.Deliver, ids[1])
		ann.act(wire.Remove, ann.submit(1, ""))
		r := ann.query(wire.Query{Kind: wire.QueryHistory, Undelivered: true, Limit: 1})
		next := ann.query(wire.Query{Kind: wire.QueryHistory, Undelivered: true, Limit: 1, After: r.Next})
		for i, page := range []wire.QueryResult{r, next} {
			var row wire.JobRow
			if len(page.Rows) != 1 || json.Unmarshal(page.Rows[0], &row) != nil || row.ID != ids[2-2*i] || page.More != (i == 0) {
				t.Errorf("page %d has %s, and more %v; want %v", i, page.Rows, page.More, ids[2-2*i])
			}
		}
	})
}
