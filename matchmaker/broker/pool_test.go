package broker

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/trust"
)

const (
	patience = 30 * time.Second
	deadline = time.Second // of requests to the HTTPS server
)

// pool is a matchmaker's broker behind its HTTPS port.
type pool struct {
	dir       string
	authority *trust.Authority
	roster    *trust.Roster
	broker    *Broker
	url       string // of the HTTPS port

	handler atomic.Pointer[http.Handler] // the running broker's
}

func startPool(t *testing.T) *pool {
	t.Helper()
	p := &pool{dir: t.TempDir()}
	var err error
	if p.authority, err = trust.OpenAuthority(filepath.Join(p.dir, "trust")); err != nil {
		t.Fatal(err)
	}
	if p.roster, err = trust.OpenRoster(filepath.Join(p.dir, "roster.json")); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	t.Cleanup(func() {
		if err := p.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	mux := http.NewServeMux()
	mux.HandleFunc(bus.WebsocketPath, func(w http.ResponseWriter, r *http.Request) {
		// As the timeouts of a server of files would; the bus must outlive them.
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.SetReadDeadline(time.Now().Add(deadline)), rc.SetWriteDeadline(time.Now().Add(deadline))); err != nil {
			t.Error(err)
		}
		(*p.handler.Load()).ServeHTTP(w, r)
	})
	srv := &http.Server{Handler: mux, TLSConfig: p.authority.ServerTLS(), ErrorLog: log.New(io.Discard, "", 0)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		srv.Close()
		serving.Wait()
	})
	p.url = "https://" + l.Addr().String()
	return p
}

func (p *pool) start(t *testing.T) {
	t.Helper()
	b, err := Start(t.Context(), Config{
		Dir: filepath.Join(p.dir, "bus"), Roster: p.roster,
		Listen: "127.0.0.1:0", TLS: p.authority.ServerTLS(),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.broker = b
	h := b.Websocket()
	p.handler.Store(&h)
}

func (p *pool) plainURL() string { return "tls://" + p.broker.Addr().String() }

// join makes an approved member.
func (p *pool) join(t *testing.T, kind trust.Kind, name string) (*trust.Identity, trust.Member) {
	t.Helper()
	id := newIdentity(t)
	m, err := p.roster.Admit(kind, id.PublicKey(), name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id, m
}

func newIdentity(t *testing.T) *trust.Identity {
	t.Helper()
	id, err := trust.CreateIdentity(filepath.Join(t.TempDir(), "identity"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (p *pool) config(t *testing.T, url string, id *trust.Identity, inbox string) bus.Config {
	t.Helper()
	tls, err := trust.ClientTLS(p.authority.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	return bus.Config{
		URLs: []string{url}, Identity: id, TLS: tls, Name: t.Name(),
		Inbox: bus.InboxPrefix(inbox), FailFast: true,
	}
}

func dial(t *testing.T, cfg bus.Config) *bus.Client {
	t.Helper()
	c, err := bus.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func subscribe(t *testing.T, c bus.Conn, pattern string, h func(bus.Msg)) bus.Subscription {
	t.Helper()
	s, err := c.Subscribe(pattern, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unsubscribe(t *testing.T, s bus.Subscription) {
	t.Helper()
	if err := s.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, c bus.Conn, subject string) {
	t.Helper()
	if err := c.Publish(subject, []byte("x")); err != nil {
		t.Fatal(err)
	}
}

func request(t *testing.T, c bus.Conn, subject, data string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := c.Request(ctx, subject, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func receive[V any](t *testing.T, from <-chan V) V {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// records keeps log lines.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *records) WithGroup(string) slog.Handler            { return r }

func (r *records) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	return nil
}

func (r *records) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, "a log line with "+text, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.ContainsFunc(r.lines, func(l string) bool {
			// The server's message is in quotes within the line.
			return strings.Contains(strings.ReplaceAll(l, `\"`, `"`), text)
		})
	})
}
