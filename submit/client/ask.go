package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"skua/internal/job"
	"skua/internal/why"
	"skua/internal/wire"
)

// Summary counts the selected jobs by batch, in the order of clusters. Only batches with a job in the queue
// are among them.
func (c *Client) Summary(ctx context.Context, sel wire.Selection) ([]wire.BatchRow, error) {
	all, _, err := rows[wire.BatchRow](ctx, c, wire.Query{Kind: wire.QuerySummary, Select: sel}, 0)
	slices.SortStableFunc(all, func(a, b wire.BatchRow) int { return cmp.Compare(a.First, b.First) }) // which holds within a page only
	return all, err
}

// Coming gives what has yet to enter the queue of clusters with late materialization, of all the user's if none is
// named, and the sequence number of the event after which it was so.
func (c *Client) Coming(ctx context.Context, clusters []int) ([]job.Opened, uint64, error) {
	return rows[job.Opened](ctx, c, wire.Query{Kind: wire.QueryComing, Select: wire.Selection{Clusters: clusters}}, 0)
}

// Why explains why a job does not run, or how it runs.
func (c *Client) Why(ctx context.Context, id job.ID) (*why.Explanation, error) {
	e, err := one[why.Explanation](ctx, c, wire.Query{Kind: wire.QueryWhy, Select: wire.Selection{Jobs: []job.ID{id}}})
	return &e, err
}

// Needy gives the job that needs an explanation most; the zero id if none is selected that is in the queue.
func (c *Client) Needy(ctx context.Context, sel wire.Selection) (wire.Needy, error) {
	all, _, err := rows[wire.Needy](ctx, c, wire.Query{Kind: wire.QueryNeedy, Select: sel}, 1)
	if err != nil || len(all) == 0 {
		return wire.Needy{}, err
	}
	return all[0], nil
}

// Users gives everybody's share of the pool.
func (c *Client) Users(ctx context.Context) ([]wire.UserRow, error) {
	all, _, err := rows[wire.UserRow](ctx, c, wire.Query{Kind: wire.QueryUsers}, 0)
	return all, err
}

// Limits gives the pool's concurrency limits and what is used of them.
func (c *Client) Limits(ctx context.Context) ([]wire.LimitRow, error) {
	all, _, err := rows[wire.LimitRow](ctx, c, wire.Query{Kind: wire.QueryLimits}, 0)
	return all, err
}

// Goodput tells what came of the processor time of all the pool's jobs.
func (c *Client) Goodput(ctx context.Context) (wire.Goodput, error) {
	return one[wire.Goodput](ctx, c, wire.Query{Kind: wire.QueryGoodput})
}

// Peek reads a piece of a file in the scratch directory of a job that runs.
func (c *Client) Peek(ctx context.Context, id job.ID, p wire.Peek) (wire.Peeked, error) {
	got, err := one[wire.Peeked](ctx, c, wire.Query{
		Kind: wire.QueryPeek, Select: wire.Selection{Jobs: []job.ID{id}}, Peek: &p,
	})
	if err == nil {
		err = got.Fail.Err()
	}
	return got, err
}

// one asks for something of which there is one.
func one[R any](ctx context.Context, c *Client, q wire.Query) (R, error) {
	var row R
	res, err := c.query(ctx, q)
	if err != nil {
		return row, err
	}
	if len(res.Rows) != 1 {
		return row, fmt.Errorf("the matchmaker's answer about %s has %d rows, not one", q.Kind, len(res.Rows))
	}
	if err := json.Unmarshal(res.Rows[0], &row); err != nil {
		return row, fmt.Errorf("read the matchmaker's answer about %s: %w", q.Kind, err)
	}
	return row, nil
}

// Table reads the table of a cluster whose Submitted event names one.
func (c *Client) Table(ctx context.Context, ref *job.TableRef) (*job.Table, error) {
	data := ref.Inline
	if ref.Digest != "" {
		res, err := c.query(ctx, wire.Query{Kind: wire.QueryFetch, Select: noJobs}) // for the capability
		if err != nil {
			return nil, err
		}
		files, err := c.fileService()
		if err != nil {
			return nil, err
		}
		if data, err = files.Bytes(ctx, res.Capability, ref.Digest, job.MaxTable); err != nil {
			return nil, fmt.Errorf("read the table of a cluster: %w", err)
		}
	}
	t, err := job.ReadTable(data)
	if err == nil && t.Len() != ref.Count {
		err = fmt.Errorf("the table of a cluster has %d rows, not %d", t.Len(), ref.Count)
	}
	return t, err
}

// noJobs selects none.
var noJobs = wire.Selection{Jobs: []job.ID{{}}}
