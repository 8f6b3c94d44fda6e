// Package transfer is the client of the matchmaker's file service: agents stage inputs, outputs and
// checkpoints with it, and the submit side brings inputs and fetches results.
//
// A transfer survives what networks and laptops do: it goes on at the byte where it was cut, waits
// longer between attempts the less they achieve, and gives up after [Config.Attempts] that achieved
// nothing. Everything received is verified against its digest before it counts, so the server is
// trusted to be available, not to be right.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/pause"
)

// Errors that callers branch on. They come wrapped with the blob and what the server said.
var (
	ErrDenied = errors.New("the file service refused the capability") // ask for a fresh one
	ErrNoRoom = errors.New("the pool has no room for it")
	ErrCut    = errors.New("the transfer was cut")
)

// Config is what a Client is made of.
type Config struct {
	BaseURL string // required: "https://pool.example.edu:9618"

	// Others gives more addresses of the same service, which are tried in turn when one cannot be reached; nil means
	// that there are none.
	Others func() []string

	// HTTP makes the requests. Required: it knows the pool's certificate authority. It must have no
	// Timeout, which would bound whole transfers; [NewHTTP] makes a good one.
	HTTP *http.Client

	Attempts int           // that achieve nothing, in a row, before a transfer fails; 0 means 6
	Patience time.Duration // how long the service may say that it is busy before that counts as such; 0 means 5 min
	Stall    time.Duration // how long the server may do nothing before an attempt is cut; 0 means 60 s
	MaxDelay time.Duration // the longest wait before another attempt; 0 means 30 s
}

// Client puts blobs to a file service and gets them. Its methods may be called concurrently.
type Client struct {
	cfg  Config
	turn atomic.Uint32 // which of the addresses is used
}

// Progress is called as bytes go or come: done of total are there. It is called often, from one
// goroutine at a time, and must not block.
type Progress func(done, total int64)

// New makes a Client.
func New(cfg Config) (*Client, error) {
	if err := checkAddress(cfg.BaseURL); err != nil {
		return nil, fmt.Errorf("file service: %w", err)
	}
	if cfg.HTTP == nil {
		return nil, errors.New("file service: no HTTP client given")
	}
	setDefault(&cfg.Attempts, 6)
	setDefault(&cfg.Patience, 5*time.Minute)
	setDefault(&cfg.Stall, 60*time.Second)
	setDefault(&cfg.MaxDelay, 30*time.Second)
	return &Client{cfg: cfg}, nil
}

func checkAddress(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is not an https address", s)
	}
	// A capability is a bearer token: it goes over plain HTTP only where nobody else listens.
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not encrypted", s)
	}
	return nil
}

// address is where the next request goes: to the one that answered last, or, after a failure, to the next.
func (c *Client) address() string {
	all := []string{c.cfg.BaseURL}
	if c.cfg.Others != nil {
		all = append(all, c.cfg.Others()...)
	}
	return strings.TrimRight(all[c.turn.Load()%uint32(len(all))], "/") + "/b/"
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Stat asks whether the service has d for this user. When it does not, err is [blob.ErrNotFound], and
// n how much of an upload it has; otherwise n is the size.
func (c *Client) Stat(ctx context.Context, capability string, d blob.Digest) (n int64, err error) {
	err = c.retry(ctx, func(ctx context.Context) (int64, error) {
		n, err = c.stat(ctx, capability, d, nil)
		return 0, err
	})
	if err != nil {
		err = fmt.Errorf("ask for blob %s: %w", d.Short(), err)
	}
	return n, err
}

func (c *Client) stat(ctx context.Context, capability string, d blob.Digest, header http.Header) (int64, error) {
	ctx, _, stop := c.watch(ctx)
	defer stop()
	resp, err := c.do(ctx, http.MethodHead, capability, d, nil, 0, header)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.ContentLength, nil
	case http.StatusNotFound:
		n, _ := strconv.ParseInt(resp.Header.Get("Upload-Offset"), 10, 64)
		return max(n, 0), blob.ErrNotFound
	}
	return 0, statusError(resp)
}

// do sends one request with size bytes of body. The response's body is to be closed.
func (c *Client) do(ctx context.Context, method, capability string, d blob.Digest, body io.Reader, size int64, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.address()+string(d), body)
	if err == nil {
		err = checkAddress(req.URL.String())
	}
	if err != nil {
		return nil, fatal{err}
	}
	if req.ContentLength = size; size == 0 {
		req.Body = nil // a reader of no bytes would be sent in chunks
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+capability)
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // a stall, or the caller's reason, rather than what it led to
	}
	return resp, err
}

// fatal marks an error that another attempt would only meet again.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// later is an answer that asks to come back after a while.
type later struct {
	error
	after time.Duration
	busy  bool // nothing is wrong: there are too many at a time
}

func (l later) Unwrap() error { return l.error }

// statusError makes an error of an answer that was not hoped for.
func statusError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	said := strings.TrimSpace(strings.ToValidUTF8(string(text), "?"))
	if said == "" {
		said = http.StatusText(resp.StatusCode)
	}
	err := fmt.Errorf("the file service answered %d: %s", resp.StatusCode, said)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fatal{fmt.Errorf("%w: %s", ErrDenied, said)}
	case http.StatusNotFound:
		return fatal{blob.ErrNotFound}
	case http.StatusUnprocessableEntity:
		return fatal{fmt.Errorf("%w, says the file service", blob.ErrMismatch)}
	case http.StatusInsufficientStorage:
		return fatal{&diag.Problem{
			What: said, Hint: "ask the pool's administrator to free disk space on the matchmaker", Err: ErrNoRoom,
		}}
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		// One that does not say when to come back may be a server in between, which does not know.
		busy := resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != ""
		return later{err, time.Duration(min(max(after, 0), 60)) * time.Second, busy}
	}
	if resp.StatusCode >= 500 {
		return err
	}
	return fatal{err}
}

// retry calls attempt until it succeeds, fails for good, or has failed too often in a row without
// moving any bytes. attempt says how many it moved. A service that is busy is asked for longer.
func (c *Client) retry(ctx context.Context, attempt func(context.Context) (moved int64, err error)) error {
	var busy time.Time // since when it is; zero while it is not
	for failed := 0; ; {
		moved, err := attempt(ctx)
		if err == nil || errors.As(err, new(fatal)) || errors.Is(err, blob.ErrNotFound) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var l later
		errors.As(err, &l)
		switch {
		case !l.busy:
			busy = time.Time{}
		case moved > 0 || busy.IsZero():
			busy = time.Now()
		}
		if l.busy && time.Since(busy) < c.cfg.Patience {
			if err := pause.For(ctx, c.delay(2, err)); err != nil {
				return err
			}
			continue
		}
		failed++
		if moved > 0 {
			failed = 1
		}
		if !errors.As(err, new(later)) {
			c.turn.Add(1) // it does not serve: perhaps another does
		}
		if failed >= c.cfg.Attempts {
			return err
		}
		if err := pause.For(ctx, c.delay(failed, err)); err != nil {
			return err
		}
	}
}

// delay is how long to wait after the nth failure in a row: full jitter, so that the many who lost the
// same server do not come back together, on top of what the server asked for.
func (c *Client) delay(n int, err error) time.Duration {
	var l later
	errors.As(err, &l)
	most := min(c.cfg.MaxDelay, time.Second<<min(n-1, 10))
	return l.after + rand.N(most)
}

// watchdog ends an attempt that stands still.
type watchdog struct {
	timer *time.Timer
	stall time.Duration
}

// watch returns a context that ends with [ErrCut] when the watchdog has not been kicked for a while.
func (c *Client) watch(ctx context.Context) (context.Context, *watchdog, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.cfg.Stall, func() {
		cancel(fmt.Errorf("%w: nothing moved for %v", ErrCut, c.cfg.Stall))
	})
	return ctx, &watchdog{timer, c.cfg.Stall}, func() { timer.Stop(); cancel(nil) }
}

func (w *watchdog) kick() { w.timer.Reset(w.stall) }
