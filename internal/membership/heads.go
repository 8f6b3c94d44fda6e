package membership

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"skua/internal/transfer"
	"skua/internal/trust"
	"skua/internal/wire"
)

// HeadsPath is where a matchmaker's HTTPS port lists the pool's matchmakers, as [wire.Heads].
const HeadsPath = "/heads"

const (
	maxHeads     = 16
	headsTimeout = 5 * time.Second // of asking one matchmaker
)

// refreshing guards the Others of all memberships: a refresh is rare, and so are readers.
var refreshing sync.Mutex

// URLs gives where to reach the pool: any will do.
func (m *Membership) URLs() []string { return append([]string{m.URL}, m.others()...) }

func (m *Membership) others() []string {
	refreshing.Lock()
	defer refreshing.Unlock()
	return m.Others
}

// Refresh asks the pool which matchmakers it has, and keeps the answer. It says whether that has changed.
func (m *Membership) Refresh(ctx context.Context) (changed bool, err error) {
	if !strings.HasPrefix(m.URL, "https://") {
		return false, nil // who goes by NATS alone is told by nobody
	}
	tls, err := trust.ClientTLS(m.Fingerprint)
	if err != nil {
		return false, err
	}
	client := transfer.NewHTTP(tls)
	defer client.CloseIdleConnections()
	for _, at := range m.URLs() {
		list, aerr := askHeads(ctx, client, at)
		if aerr != nil {
			err = errors.Join(err, fmt.Errorf("ask %s for the pool's matchmakers: %w", at, aerr))
			continue
		}
		list = slices.DeleteFunc(list, func(s string) bool { return s == m.URL })
		refreshing.Lock()
		changed = !slices.Equal(list, m.Others)
		m.Others = list
		refreshing.Unlock()
		if !changed {
			return false, nil
		}
		return true, m.save(m.dir)
	}
	return false, err
}

func askHeads(ctx context.Context, client *http.Client, at string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, headsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(at, "/")+HeadsPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil // a matchmaker that knows of no others
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxMessage))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	return decodeHeads(data)
}

// decodeHeads accepts a list of URLs that can be dialled.
func decodeHeads(data []byte) ([]string, error) {
	list, err := wire.Decode[wire.Heads](data)
	if err != nil {
		return nil, err
	}
	if len(list.URLs) > maxHeads {
		return nil, fmt.Errorf("%d matchmakers are too many", len(list.URLs))
	}
	for _, s := range list.URLs {
		if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Contains(s, ",") {
			return nil, fmt.Errorf("%.100q is not the URL of a matchmaker", s)
		}
	}
	return list.URLs, nil
}
