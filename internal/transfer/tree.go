package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"skua/internal/blob"
)

// Capability gives the capability to use for a blob now. Those who have one for a whole run give
// [Always]; those whose run outlasts it renew it here.
type Capability func(ctx context.Context, d blob.Digest) (string, error)

// Always is a capability that never changes.
func Always(capability string) Capability {
	return func(context.Context, blob.Digest) (string, error) { return capability, nil }
}

// Sink brings blobs to the file service: the way of [blob.Pack] over a network. They are durable when the image that they
// are parts of has been reported.
type Sink struct {
	Client     *Client     // required
	Capability Capability  // required, to write
	Cache      *blob.Cache // keeps a copy of what is put, for a restore on this machine; may be nil

	// Known says what the service is sure to have, such as the chunks of the manifest before, so that
	// it need not be asked; may be nil.
	Known func(blob.Digest) bool
}

// Has implements [blob.Sink].
func (s *Sink) Has(ctx context.Context, d blob.Digest) (bool, error) {
	if s.Known != nil && s.Known(d) {
		return true, nil
	}
	capability, err := s.Capability(ctx, d)
	if err != nil {
		return false, fmt.Errorf("ask for blob %s: %w", d.Short(), err)
	}
	return s.Client.HasLater(ctx, capability, d)
}

// Put implements [blob.Sink].
func (s *Sink) Put(ctx context.Context, d blob.Digest, data []byte) error {
	capability, err := s.Capability(ctx, d)
	if err != nil {
		return fmt.Errorf("put blob %s: %w", d.Short(), err)
	}
	if s.Cache != nil {
		// A cache that is full or broken costs a later restore some time, and this upload nothing.
		_ = s.Cache.PutVerified(d, data)
	}
	return s.Client.PutLater(ctx, capability, d, data)
}

// Source gets blobs from the file service, by way of the machine's cache: the way of [blob.Unpack] over a
// network, and of whole files.
type Source struct {
	Client     *Client     // required
	Capability Capability  // required, to read
	Cache      *blob.Cache // may be nil
}

// Get implements [blob.Source]. What the cache has is verified, so that damage there costs nothing but time.
func (s *Source) Get(ctx context.Context, d blob.Digest, limit int64, buf []byte) ([]byte, error) {
	if s.Cache != nil {
		if data, err := s.Cache.Read(d, limit); err == nil || errors.Is(err, blob.ErrTooLarge) {
			return data, err
		}
	}
	capability, err := s.Capability(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", d.Short(), err)
	}
	data, err := s.Client.unverified(ctx, capability, d, limit, buf)
	if err == nil && s.Cache != nil {
		_ = s.Cache.Put(d, int64(len(data)), bytes.NewReader(data)) // see Sink.Put
	}
	return data, err
}

// File makes the file at path hold the blob d, all at once, readable by its owner only. progress may
// be nil; it is not called for what the cache has.
func (s *Source) File(ctx context.Context, d blob.Digest, path string, progress Progress) error {
	if s.Cache != nil && s.Cache.Has(d) && s.fromCache(d, path) == nil {
		return nil
	}
	capability, err := s.Capability(ctx, d)
	if err != nil {
		return fmt.Errorf("get blob %s: %w", d.Short(), err)
	}
	size, err := s.Client.GetFile(ctx, capability, d, path, 0o600, progress)
	if err != nil || s.Cache == nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("get blob %s: %w", d.Short(), err)
	}
	defer f.Close()
	_ = s.Cache.Put(d, size, f) // see Sink.Put
	return nil
}

// fromCache copies, and never links: the job may write to its copy.
func (s *Source) fromCache(d blob.Digest, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after a rename there is nothing of that name
	_, err = s.Cache.Copy(f, d)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
