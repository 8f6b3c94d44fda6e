package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"skua/internal/blob"
)

// askFirst is the size above which Put asks what the service has before it sends anything. Sending a
// smaller blob costs less than asking.
const askFirst = 256 << 10

// LaterHeader marks requests of somebody who is content if a blob is durable once all of the tree that it is part of is:
// when an image is reported.
const LaterHeader = "Skua-Later"

// HasLater asks whether the service has d for this user, or will have it when the tree that it is part of is reported.
func (c *Client) HasLater(ctx context.Context, capability string, d blob.Digest) (has bool, err error) {
	err = c.retry(ctx, func(ctx context.Context) (int64, error) {
		_, err := c.stat(ctx, capability, d, upload{later: true}.header())
		return 0, err
	})
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for blob %s: %w", d.Short(), err)
	}
	return true, nil
}

// PutLater is [Client.Put] of a part of a tree, of which the service has just said that it does not have it. It is
// durable when the tree has been reported.
func (c *Client) PutLater(ctx context.Context, capability string, d blob.Digest, data []byte) error {
	return c.upload(ctx, capability, upload{d: d, size: int64(len(data)), r: bytes.NewReader(data), later: true})
}

// upload is a blob on its way to the service.
type upload struct {
	d        blob.Digest
	size     int64
	r        io.ReaderAt
	progress Progress // may be nil
	ask      bool     // what the service has, before anything is sent
	later    bool     // see LaterHeader
}

// Put brings the size bytes of r, which hash to d, to the service, unless it has them for this user. It
// goes on with an upload that was cut, be it by another process. A capability that runs out on the way
// gives [ErrDenied]; to Put again with a fresh one goes on as well. progress may be nil.
func (c *Client) Put(ctx context.Context, capability string, d blob.Digest, size int64, r io.ReaderAt, progress Progress) error {
	err := c.upload(ctx, capability, upload{d: d, size: size, r: r, progress: progress, ask: size > askFirst})
	if err == nil && progress != nil {
		progress(size, size)
	}
	return err
}

func (c *Client) upload(ctx context.Context, capability string, u upload) error {
	offset := int64(0)
	err := c.retry(ctx, func(ctx context.Context) (moved int64, err error) {
		if u.ask {
			n, err := c.stat(ctx, capability, u.d, u.header())
			if err == nil {
				return 0, nil // it is there
			}
			if !errors.Is(err, blob.ErrNotFound) {
				return 0, err
			}
			if n > u.size {
				n = 0 // an upload of something else: begin again
			}
			moved, offset = n-offset, n // what the attempt before achieved
		}
		u.ask = true // whatever goes wrong from now on, the service knows best how far we are
		return moved, c.put(ctx, capability, u, offset)
	})
	if err != nil {
		return fmt.Errorf("put blob %s: %w", u.d.Short(), err)
	}
	return nil
}

func (u upload) header() http.Header {
	h := http.Header{}
	if u.later {
		h.Set(LaterHeader, "1")
	}
	return h
}

// PutFile is [Client.Put] of the file at path, which hashes to d. A file that has changed since is
// refused with [blob.ErrMismatch].
func (c *Client) PutFile(ctx context.Context, capability string, d blob.Digest, path string, progress Progress) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("put blob %s: %w", d.Short(), err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("put blob %s: %w", d.Short(), err)
	}
	return c.Put(ctx, capability, d, fi.Size(), f, progress)
}

// put makes one attempt, from offset on.
func (c *Client) put(ctx context.Context, capability string, u upload, offset int64) error {
	ctx, dog, stop := c.watch(ctx)
	defer stop()
	body := &body{r: io.NewSectionReader(u.r, offset, u.size-offset), dog: dog, done: offset, total: u.size, progress: u.progress}
	defer body.Close() // the transport may read on after its answer
	header := u.header()
	span := fmt.Sprintf("bytes %d-%d/%d", offset, u.size-1, u.size)
	if offset == u.size {
		span = fmt.Sprintf("bytes */%d", u.size)
	}
	header.Set("Content-Range", span)
	if u.size-offset > askFirst && !u.later { // it has just been asked about what is put later
		header.Set("Expect", "100-continue") // a refusal comes before the bytes are sent
	}
	resp, err := c.do(ctx, http.MethodPut, capability, u.d, body, u.size-offset, header)
	if err != nil {
		if berr := body.failed(); berr != nil {
			return fatal{berr} // our own file, not the network
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
		return nil
	}
	return statusError(resp)
}

// body is what a PUT sends. Closed, it yields nothing more and calls nobody.
type body struct {
	dog      *watchdog
	progress Progress
	total    int64

	mu     sync.Mutex // guards what follows, and the calls of progress
	r      io.Reader
	done   int64
	err    error
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errors.New("the upload has ended")
	}
	n, err := b.r.Read(p)
	if err == io.EOF && b.done+int64(n) < b.total {
		err = fmt.Errorf("read what is to be uploaded: %w after %d bytes", io.ErrUnexpectedEOF, b.done)
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	b.done += int64(n)
	b.dog.kick()
	if b.progress != nil && n > 0 {
		b.progress(b.done, b.total)
	}
	return n, err
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

func (b *body) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}
