package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"skua/internal/diag"
)

// ClusterConfig says how to reach a NATS cluster that is not the matchmaker's own.
type ClusterConfig struct {
	URLs []string    // tls://n1:4222; nats:// is accepted for loopback addresses only; required
	TLS  *tls.Config // nil trusts the system's authorities

	// How to sign in, at most one of them: the path of a credentials file, or of a file with the seed of an NKey.
	// A name and password may stand in the URLs.
	Credentials, NKeySeed string

	Name string       // of this program, for the server's log
	Log  *slog.Logger // nil means no logging
}

// Of a connection to a cluster. Its servers are near, and a matchmaker that leads must find out soon that it is cut
// off: two unanswered pings end a connection.
const (
	clusterPing  = 2 * time.Second
	clusterDelay = 500 * time.Millisecond // between rounds of attempts
)

// DialCluster connects to a NATS cluster. It returns at once, and goes on trying until the client is closed;
// [Client.AwaitConnection] waits. Nothing is buffered while there is no connection.
func DialCluster(cfg ClusterConfig) (*Client, error) {
	list, err := natsURLs(cfg.URLs)
	if err != nil {
		return nil, fmt.Errorf("connect to the NATS cluster: %w", err)
	}
	c := &Client{log: cfg.Log, up: make(chan struct{}, 1)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	opts := append(c.options(cfg.Name), nats.PingInterval(clusterPing), nats.RetryOnFailedConnect(true),
		nats.CustomReconnectDelay(func(int) time.Duration { return clusterDelay }))
	switch {
	case cfg.Credentials != "" && cfg.NKeySeed != "":
		return nil, errors.New("connect to the NATS cluster: credentials and an NKey are two ways to sign in")
	case cfg.Credentials != "":
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	case cfg.NKeySeed != "":
		opt, err := nats.NkeyOptionFromSeed(cfg.NKeySeed)
		if err != nil {
			return nil, &diag.Problem{
				What: fmt.Sprintf("%s holds no seed of an NKey: %v", cfg.NKeySeed, err),
				Hint: `a seed begins with SU; "nk -gen user" makes one`, Err: err,
			}
		}
		opts = append(opts, opt)
	}
	if cfg.TLS != nil && list[0].Scheme == "tls" {
		opts = append(opts, nats.Secure(cfg.TLS))
	}
	if c.nc, err = nats.Connect(joinURLs(list), opts...); err != nil {
		return nil, fmt.Errorf("connect to the NATS cluster: %w", translate(err))
	}
	return c, nil
}

// AwaitConnection waits until the connection is up.
func (c *Client) AwaitConnection(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !c.nc.IsConnected() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("await the connection: %w", ctx.Err())
		}
	}
	return nil
}
