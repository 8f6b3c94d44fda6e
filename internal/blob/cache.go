package blob

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// CacheConfig is what a Cache is made of.
type CacheConfig struct {
	Dir      string // required; made when missing
	MaxBytes int64  // required; blobs in it never take more
}

// Cache keeps the blobs that were used last, within a bound. It owns its directory. A machine that
// loses power may leave damaged blobs in it: every way of reading them verifies, and drops what is
// damaged, so a cache costs no disk flushes.
//
// It is a cache on the disk. What the system has of it in memory is soon dropped, so that the machine's owner finds there
// what was there before.
type Cache struct {
	store *Store
	max   int64

	mu    sync.Mutex // guards what follows
	bytes int64
	byUse *list.List // of *cached, last used first
	blobs map[Digest]*list.Element
	fresh []Digest // that were put last, and are in memory
}

// maxFresh is how many blobs that were put may be in memory: some, since they must be on the disk before they can go. Most
// are chunks of images, of 1 MiB.
const maxFresh = 32

type cached struct {
	digest Digest
	size   int64
	pins   int
}

// OpenCache opens the cache in cfg.Dir and evicts what is beyond its bound.
func OpenCache(cfg CacheConfig) (*Cache, error) {
	if cfg.MaxBytes <= 0 {
		return nil, fmt.Errorf("open blob cache: bound of %d bytes", cfg.MaxBytes)
	}
	s, err := OpenStore(StoreConfig{Dir: cfg.Dir, NoSync: true})
	if err != nil {
		return nil, err
	}
	if _, err := s.Sweep(func(Digest) bool { return true }, 0); err != nil { // Puts of an earlier run
		return nil, err
	}
	var found []Info
	for info, err := range s.All() {
		if err != nil {
			return nil, err
		}
		found = append(found, info)
	}
	slices.SortFunc(found, func(a, b Info) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Digest, b.Digest))
	})
	c := &Cache{store: s, max: cfg.MaxBytes, byUse: list.New(), blobs: map[Digest]*list.Element{}}
	for _, info := range found {
		c.blobs[info.Digest] = c.byUse.PushBack(&cached{digest: info.Digest, size: info.Size})
		c.bytes += info.Size
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c, c.evict(0)
}

// Put stores size bytes of r under d and evicts others for it. When the pinned leave too little room
// the error is [ErrNoRoom]; when r holds something else, or more, it is [ErrMismatch].
func (c *Cache) Put(d Digest, size int64, r io.Reader) error {
	return c.put(d, size, func() (int64, error) { return c.store.Put(d, io.LimitReader(r, size)) })
}

// PutVerified stores data whose digest the caller knows to be d.
func (c *Cache) PutVerified(d Digest, data []byte) error {
	return c.put(d, int64(len(data)), func() (int64, error) { return c.store.putVerified(d, data) })
}

// Holds reports whether a tree with so many bytes is worth keeping: one that takes more than half of the cache would
// drive out what is used more often, and be driven out itself before it is used again.
func (c *Cache) Holds(bytes int64) bool { return bytes <= c.max/2 }

func (c *Cache) put(d Digest, size int64, store func() (int64, error)) error {
	if c.Has(d) {
		return nil
	}
	c.mu.Lock()
	err := c.evict(size)
	if err == nil {
		c.bytes += size // promised
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("cache blob %s: %w", d.Short(), err)
	}
	got, err := store()
	if err == nil {
		defer c.drop(c.stale(d)) // without the mutex: it may wait for the disk
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	_, have := c.blobs[d] // another Put of the same was faster
	if err != nil || have {
		c.bytes -= size
		return err
	}
	c.bytes += got - size // fewer when r was short and still hashed right
	c.blobs[d] = c.byUse.PushFront(&cached{digest: d, size: got})
	return nil
}

// stale notes that d is in memory, and gives those that have been so for long enough.
func (c *Cache) stale(d Digest) (old []Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = append(c.fresh, d)
	if n := len(c.fresh) - maxFresh; n > 0 {
		old = slices.Clone(c.fresh[:n])
		c.fresh = slices.Delete(c.fresh, 0, n)
	}
	return old
}

// drop lets the system forget what it has of blobs in memory.
func (c *Cache) drop(ds []Digest) {
	for _, d := range ds {
		f, err := c.store.Open(d)
		if err != nil {
			continue // it has been evicted
		}
		awaitFlush(f) // which was begun a while ago
		dropBehind(f, 0, 0)
		f.Close()
	}
}

// Has reports whether d is here, and counts as a use.
func (c *Cache) Has(d Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.use(d) != nil
}

// Copy writes the blob to w, verified as by [Store.Copy]. A miss is [ErrNotFound].
func (c *Cache) Copy(w io.Writer, d Digest) (int64, error) {
	unpin, ok := c.Pin(d)
	if !ok {
		return 0, notCached(d)
	}
	n, err := c.store.Copy(w, d)
	unpin()
	return n, c.forgetBad(d, err)
}

// Read returns the blob, verified, of at most limit bytes. A miss is [ErrNotFound]. Whoever reads it in one piece is not
// expected to do so again soon.
func (c *Cache) Read(d Digest, limit int64) ([]byte, error) {
	unpin, ok := c.Pin(d)
	if !ok {
		return nil, notCached(d)
	}
	data, err := c.store.Read(d, limit)
	c.drop([]Digest{d})
	unpin()
	return data, c.forgetBad(d, err)
}

// Pin keeps d from being evicted until unpin is called, once. ok is false when d is not here.
func (c *Cache) Pin(d Digest) (unpin func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.use(d)
	if b == nil {
		return nil, false
	}
	b.pins++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		b.pins--
	}), true
}

// Digests returns what is here, last used first, at most n.
func (c *Cache) Digests(n int) []Digest {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Digest
	for e := c.byUse.Front(); e != nil && len(all) < n; e = e.Next() {
		all = append(all, e.Value.(*cached).digest)
	}
	return all
}

// Bytes returns how much the cache holds or has promised room for.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// use moves d to the front and returns it, nil when it is not here. The mutex is held.
func (c *Cache) use(d Digest) *cached {
	e, ok := c.blobs[d]
	if !ok {
		return nil
	}
	if err := c.store.Touch(d); err != nil { // somebody removed the file
		c.forget(e)
		return nil
	}
	c.byUse.MoveToFront(e)
	return e.Value.(*cached)
}

// evict makes room for size more bytes, or evicts nothing when it cannot. The mutex is held.
func (c *Cache) evict(size int64) error {
	var victims []*list.Element
	left := c.bytes
	for e := c.byUse.Back(); e != nil && left > c.max-size; e = e.Prev() {
		if b := e.Value.(*cached); b.pins == 0 {
			victims = append(victims, e)
			left -= b.size
		}
	}
	if size < 0 || left > c.max-size {
		return fmt.Errorf("%w: %d bytes beside %d in use, in a cache of %d", ErrNoRoom, size, left, c.max)
	}
	for _, e := range victims {
		if err := c.store.Remove(e.Value.(*cached).digest); err != nil {
			return err
		}
		c.forget(e)
	}
	return nil
}

func (c *Cache) forget(e *list.Element) {
	b := c.byUse.Remove(e).(*cached)
	delete(c.blobs, b.digest)
	c.bytes -= b.size
}

// forgetBad passes err on and takes note when it means that the store has dropped d.
func (c *Cache) forgetBad(d Digest, err error) error {
	if errors.Is(err, ErrMismatch) || errors.Is(err, ErrNotFound) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if e, ok := c.blobs[d]; ok && !c.store.Has(d) {
			c.forget(e)
		}
	}
	return err
}

func notCached(d Digest) error { return fmt.Errorf("blob %s: %w in the cache", d.Short(), ErrNotFound) }
