package broker

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"skua/internal/diag"
)

// proxy carries websocket connections from the matchmaker's HTTPS port to the NATS server's listener
// on loopback, so that one port serves files and messages and one place does TLS. The NATS server
// checks every connection as it checks those that come directly.
//
// It is not httputil.ReverseProxy, which keeps 64 kB of buffers for each of 10,000 connections that
// are idle most of the time, and which waits for ever on a client that no longer reads.
type proxy struct {
	backend string // host:port
	log     *slog.Logger

	mu     sync.Mutex
	closed bool                  // guarded by mu
	open   map[net.Conn]struct{} // guarded by mu; both sides of every connection
	pumps  sync.WaitGroup        // Add only under mu while not closed
}

const (
	pumpBuffer   = 8 << 10
	writeTimeout = 10 * time.Second // as the NATS server's own
	lingerTime   = 2 * time.Second
)

func newProxy(backend string, log *slog.Logger) *proxy {
	return &proxy{backend: backend, log: log, open: map[net.Conn]struct{}{}}
}

// forwarded are the headers that the NATS server needs; it gets no others.
var forwarded = []string{"Sec-Websocket-Key", "Sec-Websocket-Version", "Nats-No-Masking"}

// ServeHTTP takes the connection over from the HTTP server and returns when it has ended.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "this is the message bus: it speaks NATS over websocket", http.StatusUpgradeRequired)
		return
	}
	// Browsers name the page that connects; agents and commands are no browsers.
	if r.Header.Get("Origin") != "" {
		http.Error(w, "web pages may not connect to the message bus", http.StatusForbidden)
		return
	}
	if !p.begin() {
		http.Error(w, "the matchmaker is stopping", http.StatusServiceUnavailable)
		return
	}
	defer p.pumps.Done()
	var d net.Dialer
	backend, err := d.DialContext(r.Context(), "tcp", p.backend)
	if err != nil {
		p.log.Warn("the message bus does not answer", diag.KeyError, err)
		http.Error(w, "the message bus does not answer", http.StatusServiceUnavailable)
		return
	}
	defer backend.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "websocket needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	defer client.Close()
	// Whatever deadlines the HTTP server keeps for its requests, this one lasts for days.
	if err := client.SetDeadline(time.Time{}); err != nil {
		return
	}
	if buffered.Reader.Buffered() > 0 {
		return // a client that does not wait for the handshake is none of ours
	}
	if !p.track(client, backend) {
		return
	}
	defer p.forget(client, backend)
	if err := handshake(backend, r); err != nil {
		p.log.Warn("the message bus does not answer", diag.KeyError, err)
		return
	}
	p.pump(client, backend)
}

// handshake passes the request on. The answer goes back with everything that follows it.
func handshake(backend net.Conn, r *http.Request) error {
	h := http.Header{
		"Upgrade":    {"websocket"},
		"Connection": {"Upgrade"},
		"User-Agent": {""},
	}
	for _, name := range forwarded {
		if v := r.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h.Set("X-Forwarded-For", host) // for the server's log
	}
	// The path is always the root: others have the NATS server speak other protocols.
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Host: "loopback", Header: h}
	return req.Write(backend)
}

// pump copies both ways until one side ends; then it ends the other.
func (p *proxy) pump(client, backend net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() {
		copyAll(backend, client)
		backend.Close()
	})
	copyAll(client, backend)
	backend.Close()
	linger(client)
	wg.Wait()
	_, _ = io.Copy(io.Discard, client)
}

// linger ends the sending side and gives the client some time to hang up itself. If the connection
// were closed with something of the client's still unread, the kernel would reset it, and the client
// would lose the server's last words, which say why it is refused.
func linger(client net.Conn) {
	if c, ok := client.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = client.SetReadDeadline(time.Now().Add(lingerTime))
}

// copyAll copies what comes, as it comes. A write that takes too long ends it: otherwise a client
// whose machine is gone would hold both goroutines until the kernel gives up, a quarter of an hour
// later, however soon the NATS server has noticed.
func copyAll(dst, src net.Conn) {
	buf := make([]byte, pumpBuffer)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if err := dst.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.pumps.Add(1)
	return true
}

func (p *proxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	for _, c := range conns {
		p.open[c] = struct{}{}
	}
	return true
}

func (p *proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.open, c)
	}
}

// close ends all connections and waits for their goroutines. An HTTP server does not know any more of
// the connections that were taken over from it.
func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.pumps.Wait()
}
