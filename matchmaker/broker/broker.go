// Package broker runs the pool's NATS server inside the matchmaker and decides who may connect to it
// and which subjects they may use.
//
// The rule is that a member reaches the matchmaker and nobody else: each agent and user has exact
// subjects of its own, enforced by the server, so that an id in a subject is as good as a signature.
// JetStream and the system account are reached by the matchmaker alone. Nothing is configured by
// files and nothing needs a reload: every connect asks the [Roster].
//
// It is the only package that imports nats-server.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/filelock"
	"skua/internal/trust"
	"skua/internal/wire"
)

// Config is what a Broker is made of.
type Config struct {
	Dir    string      // for the JetStream store, and for a lock; required
	Rescue bool        // the store is a copy, of which whatever can be opened is wanted
	Roster Roster      // who may connect; required
	Listen string      // host:port for plain NATS over TLS, such as :4222; empty for websocket only
	TLS    *tls.Config // of that listener; required with Listen

	// Leaf makes the broker a leaf node of a NATS cluster, which then carries messages between it and the matchmaker
	// that leads, and keeps the log; the broker has no JetStream of its own. Nil means a broker that stands alone.
	Leaf *Leaf

	MaxStore int64        // bytes that JetStream may use on disk; 0 means 64 GiB
	Log      *slog.Logger // nil means no logging
}

// Roster knows the members of the pool. *trust.Roster is one.
type Roster interface {
	Lookup(publicKey string) (trust.Member, bool)
}

const (
	headerRoom     = 8 << 10 // the server's limit counts headers, ours does not
	maxStore       = 64 << 30
	maxMemory      = 64 << 20 // JetStream's in memory; nothing of ours is kept there
	maxSubs        = 1000     // of one connection, the matchmaker's included
	connectSeconds = 10       // for TLS and for signing in, each
	maxPending     = 64 << 20 // bytes that wait for one connection; beyond that its reader is too slow, and is cut off
	writeSeconds   = 10       // that a write to a connection may take, for the same

	// Members of whom nothing has come for so long are asked whether they are there. That a host has vanished the kernel
	// notices, and each question would wake an agent that has nothing to do.
	pingInterval = 10 * time.Minute
)

// ErrInUse is the error of a directory on which a broker runs.
var ErrInUse = errors.New("another matchmaker runs on this directory")

const lockName = "broker.lock"

// Broker is a running NATS server.
type Broker struct {
	srv   *server.Server
	conn  *bus.Client
	proxy *proxy
	lock  *os.File
	start sync.WaitGroup
	store server.JetStreamConfig

	guard     guard
	stopWatch context.CancelFunc
	watch     sync.WaitGroup
}

// Start starts the server and returns when it serves, its store recovered. ctx limits the start only;
// Close ends the broker.
func Start(ctx context.Context, cfg Config) (_ *Broker, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b := &Broker{guard: guard{dir: cfg.Dir}}
	// Two servers on one store would destroy it.
	if b.lock, err = lockFile(filepath.Join(cfg.Dir, lockName)); err != nil {
		return nil, fmt.Errorf("start broker: %s: %w", cfg.Dir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start broker: %w", err), b.Close())
		}
	}()
	warnOpenFiles(cfg.Log)
	if cfg.Leaf == nil && !cfg.Rescue {
		if err := b.guard.raise(); err != nil {
			return nil, err
		}
	}

	auth := &authenticator{roster: cfg.Roster, log: cfg.Log}
	opts.CustomClientAuthentication = auth
	if b.srv, err = server.NewServer(opts); err != nil {
		return nil, err
	}
	auth.alive = func(id uint64) bool { return b.srv.GetClient(id) != nil }
	log := &serverLog{log: cfg.Log, fatal: make(chan string, 1)}
	b.srv.SetLoggerV2(log, false, false, false)
	b.start.Go(b.srv.Start)
	if err := awaitReady(ctx, b.srv, log.fatal); err != nil {
		return nil, err
	}
	b.proxy = newProxy(strings.TrimPrefix(b.srv.WebsocketURL(), "ws://"), cfg.Log)
	b.conn, err = bus.Dial(bus.Config{InProcess: b.srv, Name: "matchmaker", FailFast: true, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	b.store = server.JetStreamConfig{
		StoreDir: opts.StoreDir, SyncInterval: opts.SyncInterval, SyncAlways: opts.SyncAlways,
		MaxMemory: opts.JetStreamMaxMemory, MaxStore: opts.JetStreamMaxStore, Strict: !opts.NoJetStreamStrict,
	}
	if cfg.Leaf != nil {
		return b, nil // a leaf has no store: the cluster does
	}
	if cfg.Rescue {
		return b, nil
	}
	if err := b.settleStore(ctx, cfg.Log); err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(context.Background()) // until Close
	b.stopWatch = stop
	b.watch.Go(func() { b.watchStore(watching, cfg.Log) })
	return b, nil
}

// Lock keeps brokers away from a directory until the lock is closed: [ErrInUse] when one runs there, [os.ErrNotExist]
// when none ever did. JetStream's store is in the directory "jetstream" below.
func Lock(dir string) (io.Closer, error) {
	path := filepath.Join(dir, lockName)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return lockFile(path)
}

// lockFile opens a file that one process at a time can have open this way.
func lockFile(path string) (*os.File, error) {
	f, err := filelock.Take(path)
	if errors.Is(err, filelock.ErrHeld) {
		err = ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return f, nil
}

func (cfg *Config) options() (*server.Options, error) {
	if cfg.Dir == "" || cfg.Roster == nil {
		return nil, errors.New("a directory and a roster are required")
	}
	opts := &server.Options{
		ServerName: "skua",
		DontListen: true,
		NoSigs:     true, // signals are the program's

		JetStream:              true,
		StoreDir:               cfg.Dir, // JetStream adds a directory of its own
		SyncAlways:             true,    // without it a power cut loses two minutes of acknowledged events
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      maxStore,
		DisableJetStreamBanner: true,

		AlwaysEnableNonce: true,
		AuthTimeout:       connectSeconds,
		TLSTimeout:        connectSeconds,
		MaxPayload:        wire.MaxMessage + headerRoom,
		MaxSubs:           maxSubs,
		MaxPending:        maxPending,
		WriteDeadline:     writeSeconds * time.Second,
		MaxClosedClients:  100, // remembered for monitoring, which is off

		Websocket: server.WebsocketOpts{
			Host:             "127.0.0.1",
			Port:             server.RANDOM_PORT,
			NoTLS:            true, // see proxy
			HandshakeTimeout: connectSeconds * time.Second,
			PingInterval:     pingInterval,
		},
	}
	if cfg.MaxStore > 0 {
		opts.JetStreamMaxStore = cfg.MaxStore
	}
	if cfg.Leaf != nil {
		if err := cfg.Leaf.apply(opts); err != nil {
			return nil, err
		}
	} else {
		opts.PingInterval = pingInterval // of a leaf node it is how soon it misses the cluster
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	if cfg.TLS == nil {
		return nil, fmt.Errorf("listening on %s needs TLS", cfg.Listen)
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: %w", cfg.Listen, err)
	}
	opts.DontListen, opts.TLSConfig = false, cfg.TLS
	opts.Host, opts.Port = host, int(n)
	if n == 0 {
		opts.Port = server.RANDOM_PORT // in the server's language 0 is the default port
	}
	return opts, nil
}

// awaitReady waits until the server accepts connections. Recovering a large store takes a while.
func awaitReady(ctx context.Context, srv *server.Server, fatal <-chan string) error {
	for {
		select {
		case reason := <-fatal:
			return errors.New(reason)
		case <-ctx.Done():
			return ctx.Err()
		default:
			if srv.ReadyForConnections(50 * time.Millisecond) {
				return nil
			}
		}
	}
}

// Conn is the matchmaker's own connection, which may do everything. It belongs to the broker, whose
// Close closes it.
func (b *Broker) Conn() *bus.Client { return b.conn }

// Websocket serves NATS over websocket. It is to be mounted at [bus.WebsocketPath] of a server that
// speaks TLS.
func (b *Broker) Websocket() http.Handler { return b.proxy }

// Addr is the address of the plain listener, nil when there is none.
func (b *Broker) Addr() net.Addr { return b.srv.Addr() }

// Disconnect cuts the live connections of a key. A revoked member stays away; an approved one comes
// back with its rights. The roster must have changed before, so that a connection that is being made
// right now is either cut or judged by the change.
func (b *Broker) Disconnect(publicKey string) error {
	if publicKey == "" {
		return errors.New("disconnect: no key is given")
	}
	conns, err := b.srv.Connz(&server.ConnzOptions{Username: true, User: publicKey, Limit: 1 << 20})
	if err != nil {
		return fmt.Errorf("disconnect: %w", err)
	}
	for _, c := range conns.Conns {
		// An error means that the connection has ended by itself.
		_ = b.srv.DisconnectClientByID(c.Cid)
	}
	return nil
}

// Close ends all connections and the server, and waits until JetStream has closed its files. It must
// be called once.
func (b *Broker) Close() error {
	if b.stopWatch != nil {
		b.stopWatch()
		b.watch.Wait()
	}
	if b.conn != nil {
		b.conn.Close()
	}
	if b.srv != nil {
		b.srv.Shutdown()
		b.srv.WaitForShutdown()
		b.start.Wait()
	}
	if b.proxy != nil {
		b.proxy.close()
	}
	return b.lock.Close() // which unlocks it
}

// serverLog puts what the server says into our log. It says much at the level of notices that only
// its developers ask for.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // of capacity 1
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("nats server", "says", fmt.Sprintf(format, v...))
}

func (l *serverLog) Warnf(format string, v ...any) {
	// It means the listener on loopback, which is behind our TLS.
	if strings.HasPrefix(format, "Websocket not configured with TLS") {
		return
	}
	l.log.Warn("nats server", "says", fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Warn("nats server", diag.KeyError, fmt.Sprintf(format, v...))
}

// Fatalf is called where a stand-alone server would exit.
func (l *serverLog) Fatalf(format string, v ...any) {
	reason := fmt.Sprintf(format, v...)
	l.log.Error("nats server cannot go on", diag.KeyError, reason)
	select {
	case l.fatal <- reason:
	default:
	}
}

func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}
