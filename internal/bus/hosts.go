package bus

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

// hosts dials the matchmakers of a pool in turn, from a random one on. It is here because nats.go keeps the list of
// servers with which a connection was made, while a pool may get another matchmaker in the life of an agent.
type hosts struct {
	vanished time.Duration // how long nothing of a host means that it is gone

	mu   sync.Mutex
	list []string // host:port; guarded by mu
	next int      // where the next dial begins; guarded by mu
	at   string   // which was reached last; guarded by mu
}

func newHosts(list []*url.URL) *hosts {
	h := &hosts{vanished: vanishedAfter}
	h.set(list)
	return h
}

func (h *hosts) set(list []*url.URL) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = nil
	for _, u := range list {
		h.list = append(h.list, hostPort(u))
	}
	h.next = rand.IntN(len(h.list))
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	port := map[string]string{"ws": "80", "wss": DefaultPort}[u.Scheme]
	if port == "" {
		port = "4222"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// order gives the hosts in the order in which to try them.
func (h *hosts) order() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.next % len(h.list)
	h.next++
	return append(slices.Clone(h.list[at:]), h.list[:at]...)
}

// Dial implements nats.CustomDialer. Which server nats.go has in mind does not matter.
func (h *hosts) Dial(network, _ string) (net.Conn, error) {
	list := h.order()
	d := net.Dialer{
		Timeout:         max(connectTimeout/time.Duration(len(list)), time.Second),
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: h.vanished / 2, Interval: h.vanished / 4, Count: 2},
		Control:         func(_, _ string, conn syscall.RawConn) error { return limitSilence(conn, h.vanished) },
	}
	var err error
	for _, host := range list {
		var c net.Conn
		if c, err = d.Dial(network, host); err == nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.at = host
			return c, nil
		}
	}
	return nil, fmt.Errorf("dial the matchmaker: %w", err)
}

// reached is the host that answered last.
func (h *hosts) reached() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}
