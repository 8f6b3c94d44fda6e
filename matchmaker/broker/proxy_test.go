package broker

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"skua/internal/bus"
	"skua/internal/trust"
)

func TestProxyRefuses(t *testing.T) {
	p := startPool(t)
	cfg, err := trust.ClientTLS(p.authority.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	h1 := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
	h2 := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.Clone(), ForceAttemptHTTP2: true}}
	defer h1.CloseIdleConnections()
	defer h2.CloseIdleConnections()
	upgrade := http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"MDEyMzQ1Njc4OWFiY2RlZg=="},
	}
	with := func(name, value string) http.Header {
		h := upgrade.Clone()
		h.Set(name, value)
		return h
	}
	for _, tt := range []struct {
		name   string
		client *http.Client
		method string
		header http.Header
		want   int
	}{
		{"websocket", h1, "GET", upgrade, http.StatusSwitchingProtocols},
		{"a person's browser", h1, "GET", nil, http.StatusUpgradeRequired},
		{"an upload", h1, "POST", upgrade, http.StatusUpgradeRequired},
		{"a web page", h1, "GET", with("Origin", "https://evil.example"), http.StatusForbidden},
		{"a malformed key", h1, "GET", with("Sec-Websocket-Key", "x"), http.StatusBadRequest},
		{"a line break smuggled in", h1, "GET", with("Sec-Websocket-Version", "13\tX: y"), http.StatusBadRequest},
		{"HTTP/2", h2, "GET", http.Header{"Upgrade": {"websocket"}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, p.url+bus.WebsocketPath, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = tt.header
			resp, err := tt.client.Do(req)
			if err != nil {
				if tt.want != 0 {
					t.Fatal(err)
				}
				return // the client itself knows better
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("got %s, want %d", resp.Status, tt.want)
			}
		})
	}
}

func TestProxyCloses(t *testing.T) {
	// A backend that accepts and never says anything.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	p := newProxy(l.Addr().String(), slog.New(slog.DiscardHandler))
	srv := httptest.NewTLSServer(p)
	defer srv.Close()
	client, err := tls.Dial("tcp", srv.Listener.Addr().String(), srv.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("GET /nats HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	backend := receive(t, accepted)
	defer backend.Close()

	p.close()
	for name, c := range map[string]net.Conn{"client": client, "backend": backend} {
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the %s's connection was not ended: %v", name, err)
		}
	}
	resp, err := srv.Client().Do(upgradeRequest(t, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("afterwards: got %s, want %d", resp.Status, http.StatusServiceUnavailable)
	}
}

func TestProxyWithoutAServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there now
	srv := httptest.NewTLSServer(newProxy(l.Addr().String(), slog.New(slog.DiscardHandler)))
	defer srv.Close()
	resp, err := srv.Client().Do(upgradeRequest(t, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %s, want %d", resp.Status, http.StatusServiceUnavailable)
	}
}

func upgradeRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
	return req
}
