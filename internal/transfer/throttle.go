package transfer

import (
	"context"
	"io"
	"net/http"
	"runtime"

	"golang.org/x/time/rate"
)

// Throttle bounds how fast bytes go and come, each direction for itself, over all clients that share
// it, and how much of the processors they use. The zero Throttle is none. It may be used by several goroutines.
type Throttle struct {
	up, down rate.Limiter
	courtesy courtesy
}

// NewThrottle makes a Throttle that lets everything pass.
func NewThrottle() *Throttle {
	t := &Throttle{courtesy: courtesy{cpus: runtime.NumCPU()}}
	t.SetRate(0)
	return t
}

// SetRate sets the bytes per second of each direction, also for what is under way; 0 means no limit.
func (t *Throttle) SetRate(perSecond int64) {
	for _, l := range []*rate.Limiter{&t.up, &t.down} {
		if perSecond <= 0 {
			l.SetLimit(rate.Inf)
			continue
		}
		// A tenth of a second at a time is smooth enough for others, and never looks like a stall.
		const least, most = 512, 1 << 20
		l.SetBurst(int(min(max(perSecond/10, least), most)))
		l.SetLimit(rate.Limit(perSecond))
	}
}

// Yield has transfers leave the processors to others, for as long as due says that somebody is there who would
// notice: they take what nobody else uses, and next to nothing when all is used. due is called often, and look,
// which reads the counters, up to twenty times a second while something is transferred.
func (t *Throttle) Yield(due func() bool, look func() (Processors, error)) {
	t.courtesy.mu.Lock()
	defer t.courtesy.mu.Unlock()
	t.courtesy.due, t.courtesy.look = due, look
}

// RoundTripper gives base with the bodies of its requests and responses throttled.
func (t *Throttle) RoundTripper(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &throttled{base, t}
}

// Throttle has the client share t. It is called before the client is used.
func (c *Client) Throttle(t *Throttle) {
	h := *c.cfg.HTTP
	h.Transport = t.RoundTripper(h.Transport)
	c.cfg.HTTP = &h
}

type throttled struct {
	base http.RoundTripper
	t    *Throttle
}

// RoundTrip implements [http.RoundTripper].
func (r *throttled) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if err := r.t.courtesy.wait(ctx); err != nil {
		return nil, err
	}
	if req.Body != nil && req.Body != http.NoBody {
		req = req.Clone(ctx)
		req.Body = &slowBody{req.Body, ctx, &r.t.up, &r.t.courtesy}
		if again := req.GetBody; again != nil {
			req.GetBody = func() (io.ReadCloser, error) {
				body, err := again()
				if err != nil {
					return nil, err
				}
				return &slowBody{body, ctx, &r.t.up, &r.t.courtesy}, nil
			}
		}
	}
	resp, err := r.base.RoundTrip(req)
	if err == nil && resp.Body != nil {
		resp.Body = &slowBody{resp.Body, ctx, &r.t.down, &r.t.courtesy}
	}
	return resp, err
}

// slowBody is read no faster than its limit.
type slowBody struct {
	io.ReadCloser
	ctx      context.Context
	limit    *rate.Limiter
	courtesy *courtesy
}

// Read reads a piece and waits until it may have come.
func (b *slowBody) Read(p []byte) (int, error) {
	if err := b.courtesy.wait(b.ctx); err != nil {
		return 0, err
	}
	if b.limit.Limit() == rate.Inf {
		return b.ReadCloser.Read(p)
	}
	if most := b.limit.Burst(); len(p) > most {
		p = p[:most]
	}
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if werr := b.limit.WaitN(b.ctx, min(n, b.limit.Burst())); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}
