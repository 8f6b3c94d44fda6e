package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"skua/internal/blob"
)

// Get writes the blob d, of at most limit bytes, to w and verifies it. Of one that is larger nothing is written. What w
// has received before an error is worthless. progress may be nil.
func (c *Client) Get(ctx context.Context, capability string, d blob.Digest, limit int64, w io.Writer, progress Progress) (size int64, err error) {
	g := &getter{client: c, capability: capability, digest: d, w: w, h: sha256.New(), limit: limit, progress: progress}
	return g.run(ctx)
}

// Bytes returns the blob d, verified, of at most limit bytes.
func (c *Client) Bytes(ctx context.Context, capability string, d blob.Digest, limit int64) ([]byte, error) {
	data, err := c.unverified(ctx, capability, d, limit, nil)
	if err != nil {
		return nil, err
	}
	if got := blob.Sum(data); got != d {
		return nil, fmt.Errorf("get blob %s: %w: its digest is %s", d.Short(), blob.ErrMismatch, got.Short())
	}
	return data, nil
}

// unverified returns what the service has as the blob d, of at most limit bytes, in buf if that has room for it.
func (c *Client) unverified(ctx context.Context, capability string, d blob.Digest, limit int64, buf []byte) ([]byte, error) {
	g := &getter{client: c, capability: capability, digest: d, mem: buf[:0], limit: limit}
	if err := g.fetch(ctx); err != nil {
		return nil, err
	}
	return g.mem[:g.off], nil
}

// GetFile makes a file of the given mode at path that holds the blob d, durably and all at once. The beginning of a
// download that fails is kept beside it, readable by its owner only, and continued by the next GetFile.
func (c *Client) GetFile(ctx context.Context, capability string, d blob.Digest, path string, mode fs.FileMode, progress Progress) (size int64, err error) {
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+d.Short()+".part")
	f, err := openPart(part)
	if err != nil {
		return 0, fmt.Errorf("get blob %s: %w", d.Short(), err)
	}
	defer f.Close()
	g := &getter{client: c, capability: capability, digest: d, w: f, h: sha256.New(), limit: math.MaxInt64, progress: progress}
	if g.off, err = io.Copy(g.h, f); err != nil {
		return 0, fmt.Errorf("get blob %s: %w", d.Short(), err)
	}
	resumed := g.off > 0
	size, err = g.run(ctx)
	if errors.Is(err, blob.ErrMismatch) {
		f.Close()
		os.Remove(part)
		if resumed { // an old beginning may be the damaged part
			return c.GetFile(ctx, capability, d, path, mode, progress)
		}
	}
	if g.off == 0 {
		defer os.Remove(part) // nothing worth keeping; after a rename there is nothing of that name
	}
	if err != nil {
		return 0, err
	}
	if err = errors.Join(f.Chmod(mode), f.Sync()); err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return 0, fmt.Errorf("get blob %s: %w", d.Short(), err)
	}
	return size, nil
}

// getter is one download over all its attempts.
type getter struct {
	client     *Client
	capability string
	digest     blob.Digest
	w          io.Writer // nil means mem
	mem        []byte
	h          hash.Hash // of what w has
	off        int64     // bytes that w or mem has
	limit      int64
	progress   Progress
}

// run fetches and verifies.
func (g *getter) run(ctx context.Context) (int64, error) {
	if err := g.fetch(ctx); err != nil {
		return 0, err
	}
	if got := blob.Digest(hex.EncodeToString(g.h.Sum(nil))); got != g.digest {
		return 0, fmt.Errorf("get blob %s: %w: its digest is %s", g.digest.Short(), blob.ErrMismatch, got.Short())
	}
	return g.off, nil
}

func (g *getter) fetch(ctx context.Context) error {
	err := g.client.retry(ctx, func(ctx context.Context) (int64, error) {
		before := g.off
		err := g.attempt(ctx)
		return g.off - before, err
	})
	if err != nil {
		return fmt.Errorf("get blob %s: %w", g.digest.Short(), err)
	}
	return nil
}

func (g *getter) attempt(ctx context.Context) error {
	ctx, dog, stop := g.client.watch(ctx)
	defer stop()
	header := http.Header{}
	if g.off > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", g.off))
	}
	resp, err := g.client.do(ctx, http.MethodGet, g.capability, g.digest, nil, 0, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	total, err := g.total(resp)
	if err != nil {
		return err
	}
	if total > g.limit {
		return fatal{fmt.Errorf("%w: %d bytes, at most %d expected", blob.ErrTooLarge, total, g.limit)}
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // we have all of it
	}
	return g.receive(ctx, resp.Body, dog, total)
}

// total is the size of the blob according to resp, whose body must begin at g.off.
func (g *getter) total(resp *http.Response) (int64, error) {
	switch resp.StatusCode {
	case http.StatusOK:
		if g.off == 0 && resp.ContentLength >= 0 {
			return resp.ContentLength, nil
		}
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		span, size, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		total, err := strconv.ParseInt(size, 10, 64)
		switch {
		case err != nil || total < 0:
		case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(span, fmt.Sprintf("bytes %d-", g.off)):
			return total, nil
		case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && total <= g.off:
			return total, nil // whether it is right, the hash will tell
		}
	default:
		return 0, statusError(resp)
	}
	return 0, fatal{fmt.Errorf("the file service answered %s to a request from byte %d on", resp.Status, g.off)}
}

// buffers has memory that was used before, since new memory is dear.
var buffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

func (g *getter) receive(ctx context.Context, body io.Reader, dog *watchdog, total int64) error {
	buf := buffers.Get().(*[128 << 10]byte)
	defer buffers.Put(buf)
	if g.w == nil {
		g.mem = slices.Grow(g.mem[:g.off], int(total-g.off))[:total] // the limit has been looked at
	}
	for g.off < total {
		into := buf[:min(int64(len(buf)), total-g.off)]
		if g.w == nil {
			into = g.mem[g.off:]
		}
		n, err := body.Read(into)
		if n > 0 {
			dog.kick()
			if g.w != nil {
				if _, werr := g.w.Write(into[:n]); werr != nil {
					return fatal{werr}
				}
				g.h.Write(into[:n])
			}
			g.off += int64(n)
			if g.progress != nil {
				g.progress(g.off, total)
			}
		}
		switch {
		case err == nil || g.off == total:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return fmt.Errorf("%w at %d of %d bytes: %w", ErrCut, g.off, total, err)
		}
	}
	return nil
}
