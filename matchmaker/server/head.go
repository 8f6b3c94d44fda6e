package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"skua/internal/blob"
	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/membership"
	"skua/internal/trust"
	"skua/matchmaker/broker"
	"skua/matchmaker/files"
	"skua/matchmaker/history"
	"skua/matchmaker/queue"
)

// Head is a whole matchmaker: the core with the broker, the file service, the HTTPS port and the
// sockets for this machine's users that it needs. Its data directory holds
//
//	login.sock     lets users of this machine in; the kernel says who they are
//	admin.sock     for skua-matchmaker's own commands; root and the matchmaker's user only
//	trust/         the pool's authority, its keys and its members
//	broker/        the queue log, as the message bus keeps it
//	queue/         a copy of the queue log, snapshots of what it adds up to, the history of ended jobs
//	blobs/         inputs, outputs, checkpoints and tables of large clusters
type Head struct {
	settings Settings
	log      *slog.Logger
	ready    chan struct{} // closed when everything serves

	// What Run sets up before it closes ready.
	authority *trust.Authority
	roster    *trust.Roster
	signer    *trust.CapabilityKey
	master    *trust.MasterKey
	broker    *broker.Broker
	cluster   *cluster // nil for a matchmaker that stands alone
	others    *others  // the same
	policies  *policies
	runtimes  *runtimes
	queueLog  queue.Log
	archive   *queue.Archive
	past      *history.Store
	store     *blob.Store
	files     *files.Service
	trees     *files.Trees
	listener  net.Listener
	clock     job.LeaseClock

	queue atomic.Pointer[queue.Queue] // the one that leads, or follows
	core  atomic.Pointer[Server]      // nil while another matchmaker leads
}

// HeadConfig is what a Head is made of.
type HeadConfig struct {
	Settings Settings
	Listener net.Listener // the HTTPS port, open already; nil means that Run opens Settings.Listen
	Log      *slog.Logger // nil means no logging
}

// NewHead checks the settings. It starts nothing.
func NewHead(cfg HeadConfig) (*Head, error) {
	if err := cfg.Settings.complete(); err != nil {
		return nil, err
	}
	h := &Head{settings: cfg.Settings, listener: cfg.Listener, log: cfg.Log, ready: make(chan struct{})}
	if h.listener != nil {
		h.settings.Listen = h.listener.Addr().String()
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	return h, nil
}

// Ready is closed when the matchmaker serves. If Run fails before that, it never is.
func (h *Head) Ready() <-chan struct{} { return h.ready }

// Run serves until ctx ends or something fails. Everything it started has ended when it returns. It can
// be called once.
func (h *Head) Run(ctx context.Context) (err error) {
	start := time.Now()
	if h.clock, err = openClock(); err != nil {
		return err
	}
	if h.listener != nil {
		defer h.listener.Close()
	}
	if err := h.openTrust(); err != nil {
		return err
	}
	if h.listener == nil {
		if h.listener, err = Listen(h.settings.Listen); err != nil {
			return err
		}
		defer h.listener.Close()
	}
	if err := h.openStores(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.closeStores()) }()
	play := h.takeTurns
	if h.cluster == nil {
		core, err := h.leadQueue(ctx, h.queue.Load())
		if err != nil {
			return err
		}
		play = core.Run
	}
	sockets, err := h.openSockets()
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	run := func(loop func(context.Context) error) {
		wg.Go(func() {
			if err := loop(ctx); err != nil {
				stop(err) // the first failure ends the others
			}
		})
	}
	run(play)
	run(h.serveHTTPS)
	run(h.sweep)
	for _, s := range sockets {
		run(s.serve)
	}
	if h.cluster != nil {
		run(h.followRoster)
		run(h.cluster.heads.keep)
		run(h.others.run)
		run(h.mirror)
	}
	close(h.ready)
	h.log.Info("matchmaker serves", "url", h.URL(), "authority", h.authority.Fingerprint(), diag.KeyTook, time.Since(start))
	wg.Wait()
	h.log.Info("matchmaker stops")
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// URL is where members reach this matchmaker. It is known once Ready.
func (h *Head) URL() string {
	if h.settings.URL != "" {
		return h.settings.URL
	}
	host, _, _ := net.SplitHostPort(h.settings.Listen)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		name, err := os.Hostname()
		if err != nil {
			name = "localhost"
		}
		host = name
	}
	return "https://" + net.JoinHostPort(host, h.port())
}

// localURL is where members on this machine reach it, whatever its name is in the network today.
func (h *Head) localURL() string {
	host, _, _ := net.SplitHostPort(h.settings.Listen)
	if ip := net.ParseIP(host); h.settings.URL == "" && (host == "" || ip.IsUnspecified()) {
		return "https://" + net.JoinHostPort("127.0.0.1", h.port())
	}
	return h.URL()
}

func (h *Head) port() string {
	_, port, _ := net.SplitHostPort(h.listener.Addr().String())
	return port
}

// LoginSocket is where users of this machine log in.
func (h *Head) LoginSocket() string { return loginSocket(h.settings.Data) }

// Token makes a join token. It may be called once Ready. An empty at means [Head.URL].
func (h *Head) Token(spec trust.TokenSpec, at string) (string, error) {
	if at == "" {
		at = h.URL()
	}
	t, err := h.roster.NewToken(spec, time.Now())
	if err != nil {
		return "", err
	}
	t.URL, t.Fingerprint = at, h.authority.Fingerprint()
	return t.Encode()
}

// imageKey derives the key of a job's images.
func (h *Head) imageKey(id job.ID) blob.Key { return h.master.Derive("image", id.String()) }

// openTrust opens, and at first start makes, what the pool knows its members by.
func (h *Head) openTrust() error {
	if err := makeData(h.settings.Data); err != nil {
		return &diag.Problem{
			What: fmt.Sprintf("the data directory cannot be made: %v", err),
			Hint: "run the matchmaker as a user who may write there, or choose another with --data", Err: err,
		}
	}
	var err error
	h.authority, h.signer, h.master, err = trust.OpenKeys(filepath.Join(h.settings.Data, "trust"))
	return err
}

// ImportKeys puts the keys of a pool into the data directory of a matchmaker that is to be another one of it.
func ImportKeys(data string, text []byte) error {
	if err := makeData(data); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	dir := filepath.Join(data, "trust")
	if err := trust.ImportKeys(dir, text); err != nil {
		return err
	}
	if err := ownLike(dir, data); err != nil {
		return fmt.Errorf("owner of the keys: %w", err)
	}
	return nil
}

// makeData makes the data directory, unless it is there. Users of the machine pass through it to the
// login socket; everything else in it is closed to them.
func makeData(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.Chmod(dir, 0o711) // whatever the umask is
}

// rosterPath is where the members are, or a copy of what the matchmakers of a cluster know of them.
func (h *Head) rosterPath() string { return filepath.Join(h.settings.Data, "trust", "roster.json") }

// logConfig is where the queue's events are in JetStream.
var logConfig = bus.LogConfig{Stream: "SKUA_EV", Subject: "skua.ev"}

// openBus starts the broker and opens the roster and the queue log.
func (h *Head) openBus(ctx context.Context) (err error) {
	cfg := broker.Config{
		Dir:    filepath.Join(h.settings.Data, "broker"),
		Listen: h.settings.NATS.Listen, TLS: h.authority.ServerTLS(), Log: h.log,
	}
	if h.settings.NATS.Clustered() {
		if h.cluster, err = h.joinCluster(ctx); err != nil {
			return err
		}
		if h.roster, err = h.cluster.openRoster(ctx, h.rosterPath()); err != nil {
			return err
		}
		cfg.Leaf = h.cluster.leaf()
	} else if h.roster, err = trust.OpenRoster(h.rosterPath()); err != nil {
		return err
	}
	cfg.Roster = h.roster
	if h.broker, err = broker.Start(ctx, cfg); err != nil {
		return err
	}
	if h.cluster != nil {
		h.queueLog, err = h.cluster.openLog(ctx)
	} else {
		h.queueLog, err = bus.OpenLog(ctx, h.broker.Conn(), logConfig)
	}
	h.policies = &policies{bucket: h.lateBucket(policiesBucket), conn: h.conn(), authority: h.authority, log: h.log}
	h.runtimes = &runtimes{bucket: h.lateBucket(runtimesBucket)}
	return err
}

func (h *Head) lateBucket(name string) *lateBucket {
	return &lateBucket{conn: h.conn(), name: name, replicas: h.settings.NATS.Replicas}
}

// conn is the matchmaker's own connection to the message bus.
func (h *Head) conn() *bus.Client {
	if h.cluster != nil {
		return h.cluster.conn
	}
	return h.broker.Conn()
}

// openStores starts the broker and opens the queue log and the blobs. After an error nothing is left
// running.
func (h *Head) openStores(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, h.closeStores())
		}
	}()
	if err := h.openBus(ctx); err != nil {
		return err
	}
	if h.store, err = blob.OpenStore(blob.StoreConfig{Dir: filepath.Join(h.settings.Data, "blobs")}); err != nil {
		return err
	}
	dir := filepath.Join(h.settings.Data, "queue")
	if h.archive, err = queue.OpenArchive(queue.ArchiveConfig{
		Dir: filepath.Join(dir, "archive"), MaxBytes: int64(h.settings.Limits.Archive), MaxFile: min(int64(h.settings.Limits.Archive)/8, 64<<20),
	}); err != nil {
		return err
	}
	if h.past, err = history.Open(history.Config{
		Dir: filepath.Join(dir, "history"), MaxBytes: int64(h.settings.Limits.History), MaxAge: h.settings.Limits.HistoryAge.Std(), Logger: h.log,
	}); err != nil {
		return err
	}
	h.trees = files.NewTrees(h.store)
	var fetch func(context.Context, job.UserID, blob.Digest) error
	var stored func(context.Context, job.UserID, blob.Digest)
	if h.cluster != nil {
		if h.others, err = h.newOthers(); err != nil {
			return err
		}
		fetch, stored = h.others.fetch, h.others.stored
	}
	h.files, err = files.New(files.Config{
		Store: h.store, Authorise: h.authorise, Log: h.log,
		MaxBlob: int64(h.settings.Limits.File), DiskFloor: int64(h.settings.Limits.DiskFree),
		Fetch: fetch, Stored: stored,
	})
	if err != nil {
		return err
	}
	if h.cluster != nil {
		return h.watchInTheEnd(ctx)
	}
	return h.watchQueue(ctx)
}

// watchQueue makes a queue of what the log says.
func (h *Head) watchQueue(ctx context.Context) error {
	q, err := queue.Watch(ctx, queue.Config{
		Log: h.queueLog, Archive: h.archive, History: h.past, Snapshots: h.snapshotsDir(), SnapshotEvery: uint64(h.settings.Limits.SnapshotEvery),
		Mend:   h.cluster == nil, // nobody else writes the log
		Tables: h.tables(), Logger: h.log, MaxJobs: h.settings.Limits.Jobs, MaxPerUser: h.settings.Limits.JobsPerUser,
		HalfLife: h.settings.FairShare.HalfLife.Std(),
	})
	if err != nil {
		return err
	}
	h.queue.Store(q)
	return nil
}

// leadQueue has a queue lead, and makes the core around it.
func (h *Head) leadQueue(ctx context.Context, q *queue.Queue) (*Server, error) {
	if err := q.Lead(ctx); err != nil {
		return nil, err
	}
	cfg := Config{
		Bus: h.conn(), Queue: q, Past: h.past, Roster: h.roster, Clock: h.clock,
		Terms: h.settings.terms(), Worklife: h.settings.worklife(), RestartAfter: h.settings.restartAfter(), Baseline: h.settings.baseline(), Domain: h.settings.Domain,
		DefaultFactor: h.settings.FairShare.DefaultFactor, Limits: h.settings.concurrency(),
		Free: h.store.Free, DiskFree: int64(h.settings.Limits.DiskFree),
		Sign: h.signer.Encode, Held: h.files.Has, Settle: h.settle, ImageKey: h.imageKey, Policy: h.policies.signed, Runtimes: h.namedRuntimes, Log: h.log,
	}
	if h.others != nil {
		cfg.Elsewhere = h.others.elsewhere
	}
	core, err := New(cfg)
	if err == nil {
		h.core.Store(core)
	}
	return core, err
}

func (h *Head) closeStores() error {
	var err error
	if h.broker != nil {
		err = h.broker.Close()
	}
	if h.cluster != nil {
		err = errors.Join(err, h.cluster.conn.Close())
	}
	if h.archive != nil {
		err = errors.Join(err, h.archive.Close())
	}
	if h.past != nil {
		err = errors.Join(err, h.past.Close())
	}
	return err
}

// Listen opens a TCP port. Its errors say what to do about them.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &diag.Problem{
			What: fmt.Sprintf("another program listens on %s already", address),
			Hint: "is a matchmaker running? --listen chooses another address", Err: err,
		}
	case err != nil:
		return nil, &diag.Problem{What: fmt.Sprintf("cannot listen on %s: %v", address, err), Hint: "--listen chooses another address", Err: err}
	}
	return l, nil
}

// Bounds of the HTTPS port. The file service and the bus look after their own connections' deadlines.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	headerBytes   = 16 << 10
)

// serveHTTPS serves the one port that members need: files, the message bus over websocket, and the
// authority's certificate.
func (h *Head) serveHTTPS(ctx context.Context) error {
	var transfers sync.WaitGroup
	mux := http.NewServeMux()
	mux.HandleFunc("/b/", func(w http.ResponseWriter, r *http.Request) {
		transfers.Add(1)
		defer transfers.Done()
		h.files.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET "+membership.HeadsPath, h.serveHeads)
	mux.HandleFunc("GET "+pastPath+"{what}", func(w http.ResponseWriter, r *http.Request) {
		transfers.Add(1)
		defer transfers.Done()
		h.servePast(w, r)
	})
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Write(h.authority.PEM())
	})
	// Its connections last until the broker ends them; the broker waits for them itself.
	mux.Handle(bus.WebsocketPath, h.broker.Websocket())
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelDebug), // what port scanners do
		Protocols:         new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true) // websocket and files gain nothing from HTTP/2
	stopped := context.AfterFunc(ctx, func() { srv.Close() })
	defer stopped()
	err := srv.Serve(tls.NewListener(h.listener, h.authority.ServerTLS()))
	transfers.Wait() // their connections are closed
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTPS: %w", err)
}
