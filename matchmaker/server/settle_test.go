package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"skua/internal/blob"
	"skua/internal/job"
)

// laterSink puts what is to be durable later.
type laterSink struct{ store *blob.Store }

func (s laterSink) Has(_ context.Context, d blob.Digest) (bool, error) { return s.store.Has(d), nil }

func (s laterSink) Put(_ context.Context, d blob.Digest, data []byte) error {
	u, err := s.store.Upload(d, "u1")
	if err != nil {
		return err
	}
	defer u.Close()
	if _, err := u.Write(data); err != nil {
		return err
	}
	return u.CommitLater()
}

// All parts of an image are durable when its job's log is to have it, or it is not taken.
func TestImageIsSettled(t *testing.T) {
	h, id, _, _, _, _ := blobHead(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pages"), bytes.Repeat([]byte("page"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sink, key := laterSink{h.store}, h.imageKey(id)
	m, err := blob.Pack(t.Context(), blob.PackConfig{Dir: dir, Key: key, Sink: sink, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	image, err := blob.SaveManifest(t.Context(), sink, key, m)
	if err != nil {
		t.Fatal(err)
	}
	durable := func() (n int) {
		for range h.store.All() {
			n++
		}
		return n
	}
	before, lost := durable(), m.Chunks[0].Digest
	if err := h.store.Remove(lost); err != nil {
		t.Fatal(err)
	}
	if err := h.settle(t.Context(), id, image); !errors.Is(err, blob.ErrNotFound) || durable() != before {
		t.Errorf("an image without one of its parts gave %v, and %d blobs more are durable", err, durable()-before)
	}
	if _, err := blob.Pack(t.Context(), blob.PackConfig{Dir: dir, Key: key, Sink: sink, Workers: 1}); err != nil {
		t.Fatal(err)
	}
	if err := h.settle(t.Context(), id, image); err != nil {
		t.Error(err)
	}
	if n := durable() - before; n != len(m.Chunks)+1 {
		t.Errorf("%d blobs became durable, want %d and a manifest", n, len(m.Chunks))
	}
	if err := h.settle(t.Context(), job.ID{Cluster: 99}, image); !errors.Is(err, blob.ErrSealed) {
		t.Errorf("an image of another job gave %v", err)
	}
}
