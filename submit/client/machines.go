package client

import (
	"context"

	"skua/internal/wire"
	"skua/policy/classad"
)

// Machines gives the ads of the slots that the pool has now; with a constraint, a ClassAd expression over
// a slot's ad, those for which it is true.
func (c *Client) Machines(ctx context.Context, constraint string) ([]*classad.Ad, error) {
	ads, _, err := rows[*classad.Ad](ctx, c, wire.Query{
		Kind: wire.QueryMachines, Select: wire.Selection{Constraint: constraint},
	}, 0)
	return ads, err
}
