package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"skua/internal/wire"
)

// Columns calls row with the values of ClassAd expressions in each of the jobs, ended jobs or machines that
// are selected, as kind says, in the order of [Client.Jobs], [Client.History] or [Client.Machines]: at most limit
// of them, all for 0. The values are written in the new ClassAd syntax, strings with their quotes, and
// are good during the call only. While row works on what there is, more is asked for. An error of row ends it and is
// returned.
//
// Whole ads of many jobs are large; this is how to look at a few attributes of a hundred thousand.
func (c *Client) Columns(ctx context.Context, kind wire.QueryKind, sel wire.Selection, exprs []string, limit int, row func(values []string) error) error {
	switch kind {
	case wire.QueryJobs, wire.QueryHistory, wire.QueryMachines:
	default:
		return fmt.Errorf("a query for %s has no columns", kind)
	}
	if len(exprs) == 0 {
		return fmt.Errorf("a query for columns of %s names none", kind)
	}
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan fetched, 1)
	var asking sync.WaitGroup
	asking.Go(func() { c.fetchPages(ctx, wire.Query{Kind: kind, Select: sel, Columns: exprs, Limit: limit}, pages) })
	defer asking.Wait()
	defer cancel()

	seen := 0
	var values []string
	for p := range pages {
		if p.err != nil {
			return p.err
		}
		for _, raw := range p.rows {
			var err error
			if values, err = stringsOf(raw, values[:0]); err != nil || len(values) != len(exprs) {
				return fmt.Errorf("read the matchmaker's answer about columns of %s: %d values for %d columns, %w", kind, len(values), len(exprs), err)
			}
			if err := row(values); err != nil {
				return err
			}
			if seen++; limit > 0 && seen == limit {
				return nil
			}
		}
	}
	return context.Cause(ctx)
}

// stringsOf reads a JSON list of strings, and appends them to list.
func stringsOf(raw []byte, list []string) ([]string, error) {
	// One string in memory holds all that need no decoding.
	text := string(raw)
	rest, ok := strings.CutPrefix(text, `["`)
	ok = ok && utf8.ValidString(text)
	for ok {
		n := strings.IndexAny(rest, `"\\`)
		value := ""
		switch {
		case n < 0:
			ok = false
			continue
		case rest[n] == '"':
			value, rest = rest[:n], rest[n+1:]
		default:
			for n < len(rest) && rest[n] != '"' {
				if rest[n] == '\\' {
					n++
				}
				n++
			}
			if n >= len(rest) {
				ok = false
				continue
			}
			var err error
			if value, err = unescape(rest[:n]); err != nil {
				return nil, err
			}
			rest = rest[n+1:]
		}
		list = append(list, value)
		if rest == "]" {
			return list, nil
		}
		rest, ok = strings.CutPrefix(rest, `,"`)
	}
	list = list[:0]
	err := json.Unmarshal(raw, &list) // written in another way than a matchmaker writes it
	return list, err
}

// unescape reads what stands between the quotes of a JSON string.
func unescape(s string) (string, error) {
	if inner, ok := strings.CutPrefix(s, `\"`); ok {
		if inner, ok = strings.CutSuffix(inner, `\"`); ok && strings.IndexByte(inner, '\\') < 0 {
			return `"` + inner + `"`, nil // a ClassAd string without anything special
		}
	}
	var value string
	err := json.Unmarshal([]byte(`"`+s+`"`), &value)
	return value, err
}

// fetched is a page of rows, or why there is none.
type fetched struct {
	rows []json.RawMessage
	err  error
}

// fetchPages sends page after page until there are no more or ctx ends, and then closes the channel.
func (c *Client) fetchPages(ctx context.Context, q wire.Query, pages chan<- fetched) {
	defer close(pages)
	for {
		res, err := c.query(ctx, q)
		if err == nil && res.More && res.Next == q.After {
			err = fmt.Errorf("the matchmaker's answer about %s does not end", q.Kind)
		}
		select {
		case pages <- fetched{res.Rows, err}:
		case <-ctx.Done():
			return
		}
		if err != nil || !res.More {
			return
		}
		q.After = res.Next
	}
}
