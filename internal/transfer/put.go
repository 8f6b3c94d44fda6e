package transfer

import (
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

// Put brings the size bytes of r, which hash to d, to the service, unless it has them for this user. It
// goes on with an upload that was cut, be it by another process. A capability that runs out on the way
// gives [ErrDenied]; to Put again with a fresh one goes on as well. progress may be nil.
func (c *Client) Put(ctx context.Context, capability string, d blob.Digest, size int64, r io.ReaderAt, progress Progress) error {
	offset, ask := int64(0), size > askFirst
	err := c.retry(ctx, func(ctx context.Context) (moved int64, err error) {
		if ask {
			n, err := c.stat(ctx, capability, d)
			if err == nil {
				return 0, nil // it is there
			}
			if !errors.Is(err, blob.ErrNotFound) {
				return 0, err
			}
			if n > size {
				n = 0 // an upload of something else: begin again
			}
			moved, offset = n-offset, n // what the attempt before achieved
		}
		ask = true // whatever goes wrong from now on, the service knows best how far we are
		return moved, c.put(ctx, capability, d, size, offset, r, progress)
	})
	if err != nil {
		return fmt.Errorf("put blob %s: %w", d.Short(), err)
	}
	if progress != nil {
		progress(size, size)
	}
	return nil
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
func (c *Client) put(ctx context.Context, capability string, d blob.Digest, size, offset int64, r io.ReaderAt, progress Progress) error {
	ctx, dog, stop := c.watch(ctx)
	defer stop()
	body := &body{r: io.NewSectionReader(r, offset, size-offset), dog: dog, done: offset, total: size, progress: progress}
	defer body.Close() // the transport may read on after its answer
	header := http.Header{}
	span := fmt.Sprintf("bytes %d-%d/%d", offset, size-1, size)
	if offset == size {
		span = fmt.Sprintf("bytes */%d", size)
	}
	header.Set("Content-Range", span)
	if size-offset > askFirst {
		header.Set("Expect", "100-continue") // a refusal comes before the bytes are sent
	}
	resp, err := c.do(ctx, http.MethodPut, capability, d, body, size-offset, header)
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
