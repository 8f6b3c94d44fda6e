package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"skua/internal/diag"
	"skua/internal/trust"
	"skua/internal/wire"
)

// Config says how to reach a NATS server.
type Config struct {
	// URLs are tried in turn: https://head:9618 for websocket on the matchmaker's one port,
	// tls://head:4222 for plain NATS over TLS. nats:// and ws:// are without TLS and therefore accepted
	// for loopback addresses only. All must be of one family, websocket or not. Not used with InProcess.
	URLs []string

	// InProcess connects without a network, to a server in this process; nil for none.
	InProcess InProcess

	Identity *trust.Identity // key to sign in with; required unless InProcess is set
	TLS      *tls.Config     // from [trust.ClientTLS]; nil trusts the system's authorities
	Name     string          // of this program, for the server's log
	Inbox    string          // from [InboxPrefix]; required unless InProcess is set

	// FailFast makes Dial fail when the first attempt does, for commands that a person waits for.
	// Otherwise Dial returns at once and the client goes on trying until it is closed.
	FailFast bool

	// NoPings leaves it to the caller to find out, by Flush every few minutes, that a server does nothing any more. A ping
	// would wake a process at a time of its own.
	NoPings bool

	Log *slog.Logger // nil means no logging
}

// InProcess is a server in this process that hands out connections.
type InProcess interface {
	InProcessConn() (net.Conn, error)
}

const (
	// WebsocketPath is where the matchmaker's HTTPS port serves NATS over websocket.
	WebsocketPath = "/nats"
	// DefaultPort is the matchmaker's HTTPS port.
	DefaultPort = "9618"

	connectTimeout = 10 * time.Second // a matchmaker that 10,000 agents come back to is slow
	// That a host has vanished the kernel notices, without waking this process each time it looks. Pings, of which
	// two unanswered ones end a connection, are for servers that live and do nothing any more.
	vanishedAfter = time.Minute
	pingInterval  = 10 * time.Minute
	flushTimeout  = 10 * time.Second
	answersWithin = 30 * time.Second // a server that lives, on a network that is busy
	maxDelay      = 30 * time.Second
)

// Client is a [Conn] over NATS.
type Client struct {
	nc  *nats.Conn
	log *slog.Logger
	up  chan struct{}

	inProcess bool   // nc has no URL
	hosts     *hosts // where nc connects to; nil in-process and to a cluster

	refused atomic.Bool // the last attempt to connect ended with [ErrRefused]

	inbox    string // begins the subjects of answers; "" for the connection's own
	requests requests
	patience time.Duration // answersWithin

	mu       sync.Mutex
	closed   bool           // guarded by mu
	handlers sync.WaitGroup // running handlers; Add only under mu while not closed
}

var _ Conn = (*Client)(nil)

// Dial connects to NATS. The connection is kept for ever: a client that lost it tries again after a
// random time of at most 1 s, then 2 s, up to 30 s, so that a thousand agents do not come back at
// once. Nothing is buffered meanwhile.
func Dial(cfg Config) (*Client, error) {
	c := &Client{log: cfg.Log, up: make(chan struct{}, 1), inProcess: cfg.InProcess != nil, inbox: cfg.Inbox, patience: answersWithin}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	ping := pingInterval
	if cfg.NoPings {
		ping = 0
	}
	opts := append(c.options(cfg.Name), nats.PingInterval(ping))
	if cfg.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(cfg.Inbox))
	}
	servers := nats.DefaultURL // not used in-process
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	} else {
		list, err := natsURLs(cfg.URLs)
		switch {
		case err != nil:
			return nil, fmt.Errorf("connect: %w", err)
		case cfg.Identity == nil || cfg.Inbox == "":
			return nil, errors.New("connect: an identity and an inbox are required")
		}
		c.hosts = newHosts(list)
		servers = joinURLs(list) // as many attempts as there are hosts; see hosts for which
		opts = append(opts,
			nats.Nkey(cfg.Identity.PublicKey(), cfg.Identity.Sign),
			nats.SetCustomDialer(c.hosts), nats.SkipHostLookup())
		if cfg.TLS != nil {
			opts = append(opts, nats.Secure(cfg.TLS))
		}
	}
	if !cfg.FailFast {
		opts = append(opts, nats.RetryOnFailedConnect(true))
	}
	nc, err := nats.Connect(servers, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", strings.Join(cfg.URLs, ", "), translate(err))
	}
	c.nc = nc
	return c, nil
}

// options are those of every connection.
func (c *Client) options(name string) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration { return backoff(attempts, rand.Int64N) }),
		nats.ReconnectBufSize(-1),
		// A key that is refused today may be approved tomorrow.
		nats.IgnoreAuthErrorAbort(),
		// The embedded server would advertise its listener on loopback.
		nats.IgnoreDiscoveredServers(),
		nats.ConnectHandler(func(nc *nats.Conn) { c.connected(nc) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.connected(nc) }),
		nats.DisconnectErrHandler(c.disconnected),
		nats.ReconnectErrHandler(c.stillDisconnected()),
		nats.ErrorHandler(c.asyncError),
	}
}

// backoff is full jitter: anything between nothing and the limit, which doubles until maxDelay.
func backoff(attempts int, random func(int64) int64) time.Duration {
	limit := maxDelay
	if attempts >= 0 && attempts < 5 {
		limit = min(time.Second<<attempts, maxDelay)
	}
	return time.Duration(random(int64(limit)))
}

// natsURLs puts our URLs into the form that nats.go knows.
func natsURLs(list []string) ([]*url.URL, error) {
	if len(list) == 0 {
		return nil, errors.New("no URL of a matchmaker is given")
	}
	var out []*url.URL
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil {
			return nil, err
		}
		if u.Hostname() == "" || strings.Contains(s, ",") {
			return nil, fmt.Errorf("%q is not a URL such as https://head:%s", s, DefaultPort)
		}
		switch u.Scheme {
		case "https", "wss":
			u.Scheme = "wss"
			if u.Port() == "" {
				u.Host = net.JoinHostPort(u.Hostname(), DefaultPort)
			}
			if u.Path == "" || u.Path == "/" {
				u.Path = WebsocketPath
			}
		case "tls":
		case "nats", "ws":
			if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && !ip.IsLoopback() {
				return nil, fmt.Errorf("%s would send everything in the clear: use https:// or tls://", s)
			}
		default:
			return nil, fmt.Errorf("%q begins with %s://, expected https:// or tls://", s, u.Scheme)
		}
		if len(out) > 0 && u.Scheme != out[0].Scheme {
			return nil, fmt.Errorf("%s and %s are of two kinds", list[0], s)
		}
		out = append(out, u)
	}
	return out, nil
}

func joinURLs(list []*url.URL) string {
	var all []string
	for _, u := range list {
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// SetURLs says anew where to connect, in the form of [Config.URLs]. It is for the next connection; the one there is
// stays.
func (c *Client) SetURLs(urls []string) error {
	list, err := natsURLs(urls)
	if err != nil {
		return fmt.Errorf("set URLs: %w", err)
	}
	if c.hosts == nil {
		return errors.New("set URLs: the connection is not one to a matchmaker")
	}
	c.hosts.set(list)
	return nil
}

// Connected says whether the connection is up.
func (c *Client) Connected() bool { return c.nc.IsConnected() }

// Refused says whether there is no connection because the matchmaker refuses the key.
func (c *Client) Refused() bool { return c.refused.Load() }

// ForceReconnect implements [Conn].
func (c *Client) ForceReconnect() error {
	if err := c.nc.ForceReconnect(); err != nil {
		return fmt.Errorf("reconnect: %w", translate(err))
	}
	return nil
}

// Publish implements [Conn].
func (c *Client) Publish(subject string, data []byte) error {
	if err := checkMessage(subject, data); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := c.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("publish %s: %w", subject, translate(err))
	}
	return nil
}

// Request implements [Conn].
func (c *Client) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := checkMessage(subject, data); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	asking, done := c.requests.begin(ctx, subject)
	defer done()
	m, err := c.nc.RequestWithContext(asking, subject, data)
	if ctx.Err() == nil && asking.Err() != nil {
		err = context.Cause(asking)
	}
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", subject, translate(err))
	}
	return m.Data, nil
}

// Subscribe implements [Conn].
func (c *Client) Subscribe(subject string, h func(Msg)) (Subscription, error) {
	if err := checkSubject(subject); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	s := &natsSub{}
	sub, err := c.nc.Subscribe(subject, disturbed(func(m *nats.Msg) {
		if s.begin(c) {
			defer c.handlers.Done()
			h(c.message(m))
		}
	}))
	if err != nil {
		return nil, fmt.Errorf("subscribe %s: %w", subject, translate(err))
	}
	s.sub = sub
	// The answer to the flush comes after the server has seen the subscription. Without a connection
	// it will be made with the next one.
	if c.nc.IsConnected() {
		if err := c.nc.FlushTimeout(flushTimeout); err != nil && c.nc.IsConnected() {
			return nil, errors.Join(fmt.Errorf("subscribe %s: %w", subject, translate(err)), sub.Unsubscribe())
		}
	}
	return s, nil
}

func (c *Client) message(m *nats.Msg) Msg {
	msg := Msg{Subject: m.Subject, Data: m.Data}
	if m.Reply != "" && mayAnswer(m.Subject, m.Reply) {
		msg.Reply = func(answer []byte) error {
			if len(answer) > wire.MaxMessage {
				return fmt.Errorf("reply to %s: %d bytes: %w", m.Subject, len(answer), ErrTooLarge)
			}
			if err := m.Respond(answer); err != nil {
				return fmt.Errorf("reply to %s: %w", m.Subject, translate(err))
			}
			return nil
		}
	}
	return msg
}

// mayAnswer says whether the answer to a message may go where its sender wants it. A server checks what members publish
// to, and not the subject that they want an answer on: the matchmaker's connection, which may do everything, would write
// there for them.
func mayAnswer(subject, reply string) bool {
	for _, pattern := range []string{wire.AnyAd, wire.AnyHeartbeat, wire.AnyAgent, wire.AnyUser, wire.AnyEnrol} {
		if matches(pattern, subject) {
			id, _ := wire.Sender(subject)
			return strings.HasPrefix(reply, InboxPrefix(id)+".")
		}
	}
	return true // from the matchmaker
}

// Flush implements [Conn].
func (c *Client) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if !c.nc.IsConnected() && !c.nc.IsClosed() {
		return fmt.Errorf("flush: %w", ErrDisconnected)
	}
	waiting, stop := context.WithTimeout(ctx, c.patience)
	defer stop()
	err := c.nc.FlushWithContext(waiting)
	if err == nil {
		return nil
	}
	if waiting.Err() != nil && ctx.Err() == nil {
		err = errors.Join(ErrNoAnswer, c.nc.ForceReconnect())
	}
	return fmt.Errorf("flush: %w", translate(err))
}

// Reconnected implements [Conn].
func (c *Client) Reconnected() <-chan struct{} { return c.up }

// Close implements [Conn].
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	// Hand to the kernel what was published last, such as the answer to a last request.
	if c.nc.IsConnected() {
		_ = c.nc.FlushTimeout(time.Second)
	}
	c.nc.Close()
	c.handlers.Wait()
	return nil
}

type natsSub struct {
	sub *nats.Subscription

	mu    sync.Mutex
	ended bool // guarded by mu
}

// begin says whether a handler may be called, and counts it.
func (s *natsSub) begin(c *Client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended || c.closed {
		return false
	}
	c.handlers.Add(1)
	return true
}

// Unsubscribe implements [Subscription].
func (s *natsSub) Unsubscribe() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	err := s.sub.Unsubscribe()
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		return fmt.Errorf("unsubscribe %s: %w", s.sub.Subject, err)
	}
	return nil
}

func (c *Client) connected(nc *nats.Conn) {
	at := nc.ConnectedUrlRedacted()
	switch {
	case c.inProcess:
		at = "this process"
	case c.hosts != nil:
		at = c.hosts.reached()
	}
	c.refused.Store(false)
	c.log.Info("connected to the bus", "at", at)
	signal(c.up)
}

func (c *Client) disconnected(_ *nats.Conn, err error) {
	if err == nil { // closed by us
		return
	}
	c.log.Warn("lost the bus", diag.KeyError, err)
}

// stillDisconnected logs an attempt that failed when the reason is a new one, so that a night without
// a matchmaker leaves one line and not a thousand.
func (c *Client) stillDisconnected() nats.ConnErrHandler {
	var last string
	return func(_ *nats.Conn, err error) {
		if s := err.Error(); s != last {
			last = s
			c.log.Warn("cannot connect to the bus, trying on", diag.KeyError, translate(err))
		}
	}
}

func (c *Client) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrAuthorization) { // of each attempt
		if !c.refused.Swap(true) {
			c.log.Error("the matchmaker does not know this key, or not any more: who was put out of the pool joins it with a new token")
		}
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	c.requests.refused(err, c.inbox)
	c.log.Warn("trouble on the bus", diag.KeySubject, subject, diag.KeyError, err)
}

// translate gives an error of nats.go its name in this package.
func translate(err error) error {
	for _, t := range []struct{ theirs, ours error }{
		{nats.ErrNoResponders, ErrNoResponder},
		{nats.ErrReconnectBufExceeded, ErrDisconnected},
		{nats.ErrConnectionReconnecting, ErrDisconnected},
		{nats.ErrDisconnected, ErrDisconnected},
		{nats.ErrConnectionClosed, ErrClosed},
		{nats.ErrMaxPayload, ErrTooLarge},
		{nats.ErrAuthorization, ErrRefused},
		{nats.ErrNoServers, ErrNoAnswer},
	} {
		if errors.Is(err, t.theirs) {
			return t.ours
		}
	}
	return err
}
