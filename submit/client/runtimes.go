package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/wire"
)

// Runtimes gives the runtime roots that the pool has, in the order of their names.
func (c *Client) Runtimes(ctx context.Context) ([]wire.RuntimeRow, error) {
	all, _, err := rows[wire.RuntimeRow](ctx, c, wire.Query{Kind: wire.QueryRuntimes}, 0)
	slices.SortFunc(all, func(a, b wire.RuntimeRow) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// poolRuntimes are the pool's runtime roots that jobs name, as they are when the first one is looked up.
type poolRuntimes struct {
	ask   func(context.Context) ([]wire.RuntimeRow, error)
	named map[string]string // where, as in [submitfile.Submission]
	found map[string]*content
	known []wire.RuntimeRow // nil until somebody has asked
}

// get gives the archive that the pool has now under a name. The job keeps it, whatever becomes of the name.
func (p *poolRuntimes) get(ctx context.Context, name string) (*content, error) {
	if c := p.found[name]; c != nil {
		return c, nil
	}
	if p.known == nil {
		known, err := p.ask(ctx)
		if err != nil {
			return nil, err
		}
		p.known = append([]wire.RuntimeRow{}, known...)
	}
	for _, r := range p.known {
		if r.Name == name {
			c := &content{path: job.PoolRuntime + name, digest: r.Digest, size: r.Size, mode: 0o644, there: true}
			p.found[name] = c
			return c, nil
		}
	}
	return nil, unknownRuntime(cmp.Or(p.named[name], "RuntimeRoot = "+job.PoolRuntime+name), name, p.known)
}

// unknownRuntime says that the pool has no runtime root of a name that a command gives, and which it has.
func unknownRuntime(command, name string, known []wire.RuntimeRow) error {
	const most = 20 // names in a hint
	var names []string
	for _, r := range known {
		names = append(names, r.Name)
	}
	hint := "the pool has none; its administrator can add one, and a file of your own is named without " + job.PoolRuntime
	if len(names) > 0 {
		hint = "the pool has " + strings.Join(names[:min(len(names), most)], ", ")
		if len(names) > most {
			hint += fmt.Sprintf(" and %d more, which \"skua runtimes\" lists", len(names)-most)
		}
	}
	if like := diag.DidYouMean(name, names); like != "" {
		hint = like + " " + hint
	}
	return &diag.Problem{What: command + ": the pool has no runtime root of that name", Hint: hint}
}
