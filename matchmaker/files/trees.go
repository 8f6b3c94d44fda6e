package files

import (
	"context"
	"slices"
	"sync"

	"skua/internal/blob"
)

// Trees lets a capability to read the manifest of a tree stand for its chunks too: an image has
// thousands, and a capability for each would be larger than many of them. Whoever judges capabilities
// asks it when the blob asked for is not the one that the capability names.
type Trees struct {
	store *blob.Store

	loading sync.Mutex // held while a manifest is read: machines write them, and one may take much memory

	mu     sync.Mutex // guards what follows
	recent []*tree    // last used first
	chunks int        // of all of them
}

type tree struct {
	manifest blob.Digest
	chunks   map[blob.Digest]struct{}
}

// maxTreeChunks bounds what Trees remembers, about 100 bytes a chunk.
const maxTreeChunks = 500_000

// NewTrees makes a Trees over the manifests in store.
func NewTrees(store *blob.Store) *Trees { return &Trees{store: store} }

// Contains reports whether d is a chunk of the tree with this manifest, which key opens.
func (t *Trees) Contains(ctx context.Context, manifest blob.Digest, key blob.Key, d blob.Digest) (bool, error) {
	if has, known := t.look(manifest, d); known {
		return has, nil
	}
	t.loading.Lock()
	defer t.loading.Unlock()
	if has, known := t.look(manifest, d); known {
		return has, nil // somebody else was as quick
	}
	m, err := t.load(ctx, manifest, key)
	if err != nil {
		return false, err
	}
	chunks := make(map[blob.Digest]struct{}, len(m.Chunks))
	for _, c := range m.Chunks {
		chunks[c.Digest] = struct{}{}
	}
	t.remember(&tree{manifest, chunks})
	_, has := chunks[d]
	return has, nil
}

// Load reads the manifest of a tree, one at a time.
func (t *Trees) Load(ctx context.Context, manifest blob.Digest, key blob.Key) (blob.Manifest, error) {
	t.loading.Lock()
	defer t.loading.Unlock()
	return t.load(ctx, manifest, key)
}

func (t *Trees) load(ctx context.Context, manifest blob.Digest, key blob.Key) (blob.Manifest, error) {
	return blob.LoadManifest(ctx, blob.Local{Store: t.store}, key, manifest)
}

func (t *Trees) look(manifest, d blob.Digest) (has, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.index(manifest)
	if i < 0 {
		return false, false
	}
	found := t.recent[i]
	t.recent = slices.Insert(slices.Delete(t.recent, i, i+1), 0, found)
	_, has = found.chunks[d]
	return has, true
}

func (t *Trees) remember(n *tree) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent = slices.Insert(t.recent, 0, n)
	t.chunks += len(n.chunks)
	for len(t.recent) > 1 && (t.chunks > maxTreeChunks || len(t.recent) > 1000) {
		last := len(t.recent) - 1
		t.chunks -= len(t.recent[last].chunks)
		t.recent = slices.Delete(t.recent, last, last+1)
	}
}

func (t *Trees) index(manifest blob.Digest) int {
	return slices.IndexFunc(t.recent, func(x *tree) bool { return x.manifest == manifest })
}
