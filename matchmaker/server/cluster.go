package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/pause"
	"skua/internal/trust"
	"skua/matchmaker/broker"
	"skua/matchmaker/election"
	"skua/matchmaker/queue"
)

// cluster is what several matchmakers share: a cluster of NATS servers that keeps the queue log, the roster, and who
// leads. All of them admit members and have the files; one leads, and answers for all.
type cluster struct {
	settings NATSSettings
	name     string // of this matchmaker
	tls      *tls.Config
	conn     *bus.Client
	heads    *heads
	leader   *bus.Bucket
	log      *slog.Logger

	// spent says that the queue has led and may not do so again. It belongs to the elector, which has one role at a
	// time.
	spent   bool
	elector *election.Elector
}

const (
	leaderBucket = "SKUA_LEADER"
	leaderKey    = "leader"
	poolKey      = "pool" // in the bucket of matchmakers: the fingerprint of the authority that they share
	insistEvery  = time.Second
)

var rosterConfig = bus.LogConfig{Stream: "SKUA_ROSTER", Subject: "skua.roster"}

// joinCluster connects to the cluster and opens what the matchmakers have there. A cluster that cannot be reached is
// waited for.
func (h *Head) joinCluster(ctx context.Context) (_ *cluster, err error) {
	s := h.settings.NATS
	c := &cluster{settings: s, name: h.URL(), log: h.log}
	if s.CA != "" {
		if c.tls, err = trustOnly(s.CA); err != nil {
			return nil, err
		}
	}
	c.conn, err = bus.DialCluster(bus.ClusterConfig{
		URLs: s.URLs, TLS: c.tls, Credentials: s.Credentials, NKeySeed: s.NKeySeed, Name: "matchmaker " + c.name, Log: h.log,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.conn.Close())
		}
	}()
	if err := c.conn.AwaitConnection(ctx); err != nil {
		return nil, err
	}
	var table *bus.Bucket
	err = c.insist(ctx, "open what the matchmakers share", func(ctx context.Context) (err error) {
		c.leader, err = bus.OpenBucket(ctx, c.conn, bus.BucketConfig{Name: leaderBucket, TTL: s.LeaderTTL.Std(), Replicas: s.Replicas})
		if err == nil {
			table, err = bus.OpenBucket(ctx, c.conn, bus.BucketConfig{Name: headsBucket, TTL: headsTTL, Replicas: s.Replicas})
		}
		if err == nil {
			err = samePool(ctx, table, h.authority.Fingerprint())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c.heads = newHeads(table, c.name, h.log)
	if err := c.insist(ctx, "list the matchmakers", c.heads.look); err != nil { // a table may have to be fetched at once
		return nil, err
	}
	return c, nil
}

// trustOnly trusts the authorities in a file of PEM.
func trustOnly(path string) (*tls.Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &diag.Problem{What: fmt.Sprintf("[nats]: ca cannot be read: %v", err), Hint: "it is the file with the authority of the NATS servers' certificates", Err: err}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, &diag.Problem{What: fmt.Sprintf("[nats]: %s holds no certificate", path), Hint: "it is to be in PEM"}
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// samePool refuses a matchmaker that is of another pool, or that has been started without the keys of this one.
func samePool(ctx context.Context, table *bus.Bucket, fingerprint string) error {
	_, err := table.Create(ctx, poolKey, []byte(fingerprint))
	if !errors.Is(err, bus.ErrConflict) {
		return err
	}
	theirs, _, err := table.Get(ctx, poolKey)
	if err != nil || string(theirs) == fingerprint {
		return err
	}
	return &diag.Problem{
		What: fmt.Sprintf("this matchmaker's authority is %.16s…, that of the pool on the NATS cluster %.16s…", fingerprint, theirs),
		Hint: `bring the pool's keys here: "skua-matchmaker keys export" on the first matchmaker, "skua-matchmaker keys import" on this one`,
	}
}

// insist repeats what a cluster may refuse for a while, such as when a majority of its servers is away, until it
// succeeds, ctx ends, or a person must do something about it.
func (c *cluster) insist(ctx context.Context, what string, try func(context.Context) error) error {
	told := ""
	for {
		err := try(ctx)
		if err == nil || errors.As(err, new(*diag.Problem)) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s := err.Error(); s != told {
			told = s
			c.log.Warn("the NATS cluster does not let this matchmaker "+what+" yet, trying on", diag.KeyError, err)
		}
		if err := pause.For(ctx, insistEvery); err != nil {
			return err
		}
	}
}

func (c *cluster) openLog(ctx context.Context) (log queue.Log, err error) {
	err = c.insist(ctx, "open the queue log", func(ctx context.Context) error {
		log, err = c.stream(ctx, logConfig)
		return err
	})
	if err == nil {
		c.log.Info("the queue log is on the NATS cluster; that it survives a power cut there needs sync_interval: always in the servers' configuration",
			"replicas", c.settings.Replicas)
	}
	return log, err
}

func (c *cluster) stream(ctx context.Context, cfg bus.LogConfig) (*bus.StreamLog, error) {
	cfg.Replicas = c.settings.Replicas
	return bus.OpenLog(ctx, c.conn, cfg)
}

func (c *cluster) openRoster(ctx context.Context, path string) (r *trust.Roster, err error) {
	err = c.insist(ctx, "open the roster", func(ctx context.Context) error {
		journal, err := c.stream(ctx, rosterConfig)
		if err != nil {
			return err
		}
		r, err = trust.OpenSharedRoster(ctx, path, journal)
		return err
	})
	return r, err
}

// leaf says how the broker joins the cluster.
func (c *cluster) leaf() *broker.Leaf {
	return &broker.Leaf{
		Name: headKey(c.name), URLs: c.settings.LeafURLs, TLS: c.tls,
		Credentials: c.settings.Credentials, NKeySeed: c.settings.NKeySeed,
	}
}

// followRoster cuts the connections of members that another matchmaker has changed: they come back with what they
// may do now, if anything. The jobs of users who may do nothing more are held.
func (h *Head) followRoster(ctx context.Context) error {
	err := h.roster.Follow(ctx, func(members []trust.Member) {
		for _, m := range members {
			if err := h.broker.Disconnect(m.PublicKey); err != nil {
				h.log.Warn("member is not disconnected", "id", m.ID, diag.KeyError, err)
			}
		}
		if core := h.core.Load(); core != nil {
			core.MemberPutOut() // if it is what has changed
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// takeTurns leads or stands by until ctx ends.
func (h *Head) takeTurns(ctx context.Context) (err error) {
	h.cluster.elector, err = election.New(election.Config{
		Keys: h.cluster.leader, Key: leaderKey, Name: h.cluster.name, TTL: h.settings.NATS.LeaderTTL.Std(),
		Lead: h.lead, Follow: h.follow, Log: h.log,
	})
	if err != nil {
		return err
	}
	return h.cluster.elector.Run(ctx)
}

// renewQueue makes another queue, with watch, in the place of one that has led.
func (h *Head) renewQueue(ctx context.Context, watch func(context.Context) error) error {
	if !h.cluster.spent {
		return nil
	}
	err := watch(ctx)
	if err == nil {
		h.cluster.spent = false
	}
	return err
}

// watchInTheEnd is watchOnce, again and again until it succeeds, ctx ends, or the log is damaged.
func (h *Head) watchInTheEnd(ctx context.Context) error {
	return h.cluster.insist(ctx, "read the queue log", h.watchOnce)
}

// watchOnce is watchQueue for a log that may have to be waited for, but not when it is damaged. What the log has
// forgotten, and what of it is not here, comes from other matchmakers.
func (h *Head) watchOnce(ctx context.Context) error {
	if err := h.cluster.heads.look(ctx); err != nil { // nobody does so yet at the start
		h.log.Debug("the list of matchmakers is not up to date", diag.KeyError, err)
	}
	if err := h.makeUp(ctx); err != nil {
		return errors.New(err.Error()) // it may work in a moment
	}
	err := h.watchWhole(ctx)
	if err == nil || errors.Is(err, queue.ErrDamaged) {
		return err // which is a problem, that ends the matchmaker
	}
	// A replica that has just taken over may not know the log's end for a moment.
	return errors.New(err.Error())
}

// watchWhole is watchQueue, also when tables are gone that old events need.
func (h *Head) watchWhole(ctx context.Context) error {
	err := h.watchQueue(ctx)
	if errors.Is(err, blob.ErrNotFound) {
		err = h.watchFromSnapshot(ctx, err)
	}
	return err
}

// follow stands by: it follows the log, so that this matchmaker can lead at once.
func (h *Head) follow(ctx context.Context) error {
	if err := h.renewQueue(ctx, h.watchInTheEnd); err != nil {
		return err
	}
	err := h.queue.Load().Follow(ctx)
	if ctx.Err() != nil || errors.Is(err, queue.ErrDamaged) {
		return err
	}
	h.log.Warn("the queue log cannot be followed on, it is read anew", diag.KeyError, err)
	h.cluster.spent = true
	return nil
}

// lead leads, as long as ctx lasts and nobody else does. What fails is not tried again meanwhile: another matchmaker,
// which cannot lead before this one lets it, may be able to.
func (h *Head) lead(ctx context.Context) error {
	err := h.renewQueue(ctx, h.watchOnce)
	if err == nil {
		err = h.leadOnce(ctx)
	}
	switch {
	case ctx.Err() != nil, errors.Is(err, queue.ErrDamaged):
		return err
	case err != nil:
		h.log.Warn("this matchmaker cannot lead", diag.KeyError, err)
	}
	return nil // somebody else may
}

func (h *Head) leadOnce(ctx context.Context) error {
	h.cluster.spent = true
	core, err := h.leadQueue(ctx, h.queue.Load())
	if err != nil {
		return err
	}
	defer h.core.Store(nil)
	return core.Run(ctx)
}

// standsBy says why this matchmaker does not do what only the one that leads can.
func (h *Head) standsBy(ctx context.Context) error {
	p := &diag.Problem{What: "this matchmaker stands by", Hint: "give the command at the one that leads"}
	if value, _, err := h.cluster.leader.Get(ctx, leaderKey); err == nil {
		p.Hint += ", " + election.Name(value)
	}
	return p
}

// snapshotsDir is where the queue's snapshots are.
func (h *Head) snapshotsDir() string { return filepath.Join(h.settings.Data, "queue", "snapshots") }
