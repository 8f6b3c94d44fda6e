package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/pause"
	"skua/internal/wire"
	"skua/matchmaker/election"
)

// heads is the list of the pool's matchmakers. Each writes itself into a table in the cluster, again and again; one
// that has not done so for two weeks is taken for gone.
type heads struct {
	table *bus.Bucket
	own   string
	log   *slog.Logger

	mu   sync.Mutex
	urls []string // of all, our own among them, in order; guarded by mu
}

const (
	headsBucket   = "SKUA_HEADS"
	headsTTL      = 14 * 24 * time.Hour
	headsAnnounce = 6 * time.Hour
	headsLook     = 10 * time.Second
	headPrefix    = "head."
)

func newHeads(table *bus.Bucket, own string, log *slog.Logger) *heads {
	return &heads{table: table, own: own, log: log, urls: []string{own}}
}

// headKey names a matchmaker where its URL would not do.
func headKey(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:8])
}

// keep keeps the list up to date until ctx ends.
func (l *heads) keep(ctx context.Context) error {
	var announced time.Time
	for {
		var err error
		if time.Since(announced) > headsAnnounce {
			if err = l.table.Put(ctx, headPrefix+headKey(l.own), []byte(l.own)); err == nil {
				announced = time.Now()
			}
		}
		if err == nil {
			err = l.look(ctx)
		}
		if err != nil && ctx.Err() == nil {
			l.log.Debug("the list of matchmakers is not up to date", diag.KeyError, err)
		}
		if pause.For(ctx, headsLook) != nil {
			return nil
		}
	}
}

func (l *heads) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, headsLook)
	defer cancel()
	all, err := l.table.All(ctx)
	if err != nil {
		return err
	}
	urls := []string{l.own}
	for key, value := range all {
		if key != poolKey && string(value) != l.own {
			urls = append(urls, string(value))
		}
	}
	slices.Sort(urls)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(urls, l.urls) {
		l.log.Info("matchmakers of the pool", "urls", urls)
	}
	l.urls = urls
	return nil
}

// all gives the URLs of all matchmakers, this one among them.
func (l *heads) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.urls)
}

// others gives the URLs of the other matchmakers.
func (l *heads) others() []string {
	return slices.DeleteFunc(l.all(), func(url string) bool { return url == l.own })
}

// serveHeads tells members where else the pool is. It is no secret: whoever may not join cannot there either.
func (h *Head) serveHeads(w http.ResponseWriter, _ *http.Request) {
	urls := []string{h.URL()}
	if h.cluster != nil {
		urls = h.cluster.heads.all()
	}
	data, err := wire.Encode(wire.Heads{V: wire.Version, URLs: urls})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
}

// HeadRow is a matchmaker as administrators see it.
type HeadRow struct {
	URL   string `json:"url"`
	Leads bool   `json:"leads,omitempty"`
	Here  bool   `json:"here,omitempty"`
}

// headRows lists the matchmakers of the pool.
func (h *Head) headRows(ctx context.Context) ([]HeadRow, error) {
	if h.cluster == nil {
		return []HeadRow{{URL: h.URL(), Leads: true, Here: true}}, nil
	}
	leader, _, err := h.cluster.leader.Get(ctx, leaderKey)
	if err != nil {
		leader = nil // nobody leads, or nobody knows
	}
	var rows []HeadRow
	for _, url := range h.cluster.heads.all() {
		rows = append(rows, HeadRow{URL: url, Leads: url == election.Name(leader), Here: url == h.cluster.name})
	}
	slices.SortFunc(rows, func(a, b HeadRow) int { return cmp.Compare(a.URL, b.URL) })
	return rows, nil
}
