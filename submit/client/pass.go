package client

import (
	"context"
	"errors"
	"time"

	"skua/internal/transfer"
	"skua/internal/wire"
)

// renewAfter is the age at which a capability is replaced before it is used for another file; it is good for an hour.
const renewAfter = 20 * time.Minute

// pass is a capability for the user's files that lasts for any number of them. Without one it asks for the first.
type pass struct {
	client     *Client
	query      wire.Query // whose answer brings a capability
	capability string
	asked      time.Time
}

// use has a file moved with a capability that is good, and once more with another if the file service refuses it: a move
// may outlast it, and goes on where it was.
func (p *pass) use(ctx context.Context, move func(capability string) error) error {
	if time.Since(p.asked) >= renewAfter {
		if err := p.renew(ctx); err != nil {
			return err
		}
	}
	for again := false; ; again = true {
		err := move(p.capability)
		if !errors.Is(err, transfer.ErrDenied) || again && time.Since(p.asked) < renewAfter {
			return err
		}
		if err := p.renew(ctx); err != nil {
			return err
		}
	}
}

func (p *pass) renew(ctx context.Context) error {
	asked := time.Now()
	res, err := p.client.query(ctx, p.query)
	if err != nil {
		return err
	}
	p.capability, p.asked = res.Capability, asked
	return nil
}
