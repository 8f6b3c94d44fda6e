package broker

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Leaf says how the broker joins a NATS cluster as a leaf node. Members need no account there: the broker lets them in
// as ever, and what they may say crosses to the cluster in the broker's name.
type Leaf struct {
	Name string   // of this broker among the leaf nodes of the cluster; required, and different for each
	URLs []string // where the cluster takes leaf nodes, tls://n1:7422; required
	TLS  *tls.Config

	// How to sign in, at most one of them: paths as in [skua/internal/bus.ClusterConfig].
	Credentials, NKeySeed string
}

// leafReconnect is how long a leaf node waits before it tries another server of the cluster.
const leafReconnect = time.Second

// closed are subjects on which nothing passes in either direction. Members may use none of them anyhow; this is for
// the day on which that is not so. What the matchmakers say to the cluster themselves goes over another connection.
var closed = []string{"$JS.>", "$KV.>", "$O.>", "skua.ev", "skua.roster"}

// apply makes opts those of a leaf node.
func (l *Leaf) apply(opts *server.Options) error {
	if l.Name == "" || len(l.URLs) == 0 {
		return errors.New("a leaf node needs a name and the URLs of a cluster")
	}
	remote := &server.RemoteLeafOpts{
		Credentials: l.Credentials,
		TLSConfig:   l.TLS,
		TLSTimeout:  connectSeconds,
		DialTimeout: 2 * time.Second,
		DenyImports: closed,
		DenyExports: closed,
	}
	for _, s := range l.URLs {
		u, err := url.Parse(s)
		if err != nil {
			return err
		}
		if u.Scheme == "tls" {
			remote.TLS = true
		}
		remote.URLs = append(remote.URLs, u)
	}
	if !remote.TLS {
		remote.TLSConfig = nil
	}
	if l.NKeySeed != "" {
		seed, err := os.ReadFile(l.NKeySeed)
		if err != nil {
			return fmt.Errorf("read the NKey of the cluster: %w", err)
		}
		remote.Nkey = string(bytes.TrimSpace(seed))
	}
	opts.ServerName = "skua-" + l.Name
	opts.JetStream, opts.StoreDir = false, ""
	opts.LeafNode.Remotes = []*server.RemoteLeafOpts{remote}
	opts.LeafNode.ReconnectInterval = leafReconnect
	return nil
}

// Joined says whether the broker is connected to the cluster that it is a leaf node of.
func (b *Broker) Joined() bool { return b.srv.NumLeafNodes() > 0 }
