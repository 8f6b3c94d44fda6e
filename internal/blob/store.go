package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// StoreConfig is what a Store is made of.
type StoreConfig struct {
	Dir      string // required; made when missing
	NoSync   bool   // true leaves it to the system when data reaches the disk; right for a cache only
	ReadOnly bool   // nothing is put, made or removed, not even what is damaged
}

// Store is a directory of blobs. Its layout is
//
//	data/3f/3f9a...           a blob, its modification time being its last use
//	data/3f/3f9a....u7k2q     an empty file: holder u7k2q has proved to have this content
//	unsettled/BOOT/3f9a...    a blob that is not durable yet
//	partial/3f9a....u7k2q     the beginning of an upload by u7k2q
//	partial/put+123           a Put under way
//
// Its methods may be called concurrently, also by several processes as far as whole blobs are
// concerned; uploads of one blob by one holder exclude each other within one Store.
type Store struct {
	dir      string
	noSync   bool
	readOnly bool
	boot     string // the system's start, as a name

	mu      sync.Mutex      // guards uploads; held while a blob is touched, marked or removed for age
	uploads map[string]bool // names in partial/ that an Upload is writing

	loose     sync.Mutex      // guards unsettled; locked last
	unsettled map[Digest]bool // blobs that are not durable yet
}

// Info is what a Store knows of a blob without reading it.
type Info struct {
	Digest Digest
	Size   int64     // bytes
	Used   time.Time // when it was last put or touched
}

// OpenStore opens the store in cfg.Dir, and makes it when there is none, unless it is only to be read.
func OpenStore(cfg StoreConfig) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open blob store: no directory given")
	}
	s := &Store{
		dir: cfg.Dir, noSync: cfg.NoSync, readOnly: cfg.ReadOnly,
		uploads: map[string]bool{}, unsettled: map[Digest]bool{},
	}
	if s.readOnly {
		if err := s.findUnsettled(); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
		return s, nil
	}
	if err := os.MkdirAll(s.partialDir(), 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	// All fan-out directories are made now: made on demand, each would cost its first blob two more
	// directory syncs.
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(s.dir, "data", fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
	}
	if err := errors.Join(s.openUnsettled(), s.syncDir(filepath.Join(s.dir, "data"))); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	return s, nil
}

// Put stores what r yields under d. It reads r to its end; when that hashes to something else, nothing
// is stored and the error is [ErrMismatch].
func (s *Store) Put(d Digest, r io.Reader) (size int64, err error) {
	return s.fill(d, func(f *os.File) (int64, error) {
		h := sha256.New()
		n, err := io.Copy(io.MultiWriter(f, h), r)
		if got := Digest(hex.EncodeToString(h.Sum(nil))); err == nil && got != d {
			err = mismatch(d, got)
		}
		return n, err
	})
}

// putVerified stores data whose digest is known to be d.
func (s *Store) putVerified(d Digest, data []byte) (size int64, err error) {
	return s.fill(d, func(f *os.File) (int64, error) {
		n, err := f.Write(data)
		return int64(n), err
	})
}

// fill makes the file that write writes the blob d.
func (s *Store) fill(d Digest, write func(*os.File) (int64, error)) (size int64, err error) {
	if err := d.check(); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(s.partialDir(), "put+*")
	if err != nil {
		return 0, fmt.Errorf("put blob %s: %w", d.Short(), err)
	}
	defer os.Remove(f.Name()) // after a rename there is nothing of that name
	if size, err = write(f); err != nil {
		f.Close()
	} else {
		err = s.adopt(f, d, "", false)
	}
	if err != nil {
		return 0, fmt.Errorf("put blob %s: %w", d.Short(), err)
	}
	return size, nil
}

// PutBytes stores data and returns its digest.
func (s *Store) PutBytes(data []byte) (Digest, error) {
	d := Sum(data)
	if s.Has(d) {
		return d, s.Touch(d)
	}
	_, err := s.Put(d, bytes.NewReader(data))
	return d, err
}

// Open opens a blob for reading. The caller closes it. What is read is not verified again: see
// [Store.Copy] for that.
func (s *Store) Open(d Digest) (*os.File, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	var f *os.File
	err := s.at(d, func(path string) (err error) {
		f, err = os.Open(path)
		return err
	})
	if err != nil {
		return nil, notFound("open", d, err)
	}
	return f, nil
}

// Copy writes a blob to w and verifies it on the way. A blob that turns out damaged is removed, and the
// error is [ErrMismatch]; what w has received by then is worthless.
func (s *Store) Copy(w io.Writer, d Digest) (int64, error) {
	f, err := s.Open(d)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), f)
	if err != nil {
		return n, fmt.Errorf("copy blob %s: %w", d.Short(), err)
	}
	if got := Digest(hex.EncodeToString(h.Sum(nil))); got != d {
		f.Close() // Windows removes no open file
		return n, errors.Join(mismatch(d, got), s.dropDamaged(d))
	}
	return n, nil
}

// Read returns a verified blob of at most limit bytes.
func (s *Store) Read(d Digest, limit int64) ([]byte, error) {
	size, err := s.Size(d)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("read blob %s: %w: %d bytes, at most %d expected", d.Short(), ErrTooLarge, size, limit)
	}
	var data []byte
	err = s.at(d, func(path string) (err error) {
		data, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return nil, notFound("read", d, err)
	}
	if got := Sum(data); got != d {
		return nil, errors.Join(mismatch(d, got), s.dropDamaged(d))
	}
	return data, nil
}

// Has reports whether the whole blob is here.
func (s *Store) Has(d Digest) bool {
	_, err := s.Size(d)
	return err == nil
}

// Size returns a blob's size in bytes.
func (s *Store) Size(d Digest) (int64, error) {
	if err := d.check(); err != nil {
		return 0, err
	}
	var fi fs.FileInfo
	err := s.at(d, func(path string) (err error) {
		fi, err = os.Stat(path)
		return err
	})
	if err != nil {
		return 0, notFound("look up", d, err)
	}
	return fi.Size(), nil
}

// Touch records that a blob has been used now, which keeps it from [Store.Sweep] for a while.
func (s *Store) Touch(d Digest) error {
	if err := d.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err := s.at(d, func(path string) error { return os.Chtimes(path, now, now) }); err != nil {
		return notFound("touch", d, err)
	}
	return nil
}

// Remove deletes a blob. It is no error when there is none.
func (s *Store) Remove(d Digest) error {
	if err := d.check(); err != nil {
		return err
	}
	if err := errors.Join(s.forgetUnsettled(d), ignoreMissing(os.Remove(s.dataPath(d)))); err != nil {
		return fmt.Errorf("remove blob %s: %w", d.Short(), err)
	}
	return nil
}

// dropDamaged removes a blob that has turned out damaged.
func (s *Store) dropDamaged(d Digest) error {
	if s.readOnly {
		return nil
	}
	return s.Remove(d)
}

// All yields every blob that is durable, in the order of digests. It may miss what is put meanwhile.
func (s *Store) All() iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for i := range 256 {
			names, err := os.ReadDir(s.fanout(i))
			if err != nil {
				yield(Info{}, fmt.Errorf("list blobs: %w", err))
				return
			}
			for _, e := range names {
				d := Digest(e.Name())
				if !d.Valid() {
					continue
				}
				fi, err := e.Info()
				if errors.Is(err, fs.ErrNotExist) {
					continue // removed since
				}
				if err != nil {
					yield(Info{}, fmt.Errorf("list blobs: %w", err))
					return
				}
				if !yield(Info{Digest: d, Size: fi.Size(), Used: fi.ModTime()}, nil) {
					return
				}
			}
		}
	}
}

// Free returns how many bytes the file system of the store has left for us.
func (s *Store) Free() (int64, error) { return freeBytes(s.dir) }

// adopt makes the verified temporary file f the blob d, held by holder unless that is empty, and makes
// both durable unless that is to be done later. It closes f.
func (s *Store) adopt(f *os.File, d Digest, holder string, later bool) error {
	var err error
	switch {
	case s.noSync:
		later = false
		startFlush(f) // so that it can be dropped soon
	case later:
		startFlush(f)
	default:
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := s.install(f.Name(), d, holder, later); err != nil || later {
		return err
	}
	return s.syncDir(filepath.Dir(s.dataPath(d)))
}

func (s *Store) install(tmp string, d Digest, holder string, later bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now() // the last write to a resumed upload may be old
	if err := os.Chtimes(tmp, now, now); err != nil {
		return err
	}
	if holder != "" {
		if err := s.mark(d, holder); err != nil {
			return err
		}
	}
	if later {
		return s.unsettle(tmp, d)
	}
	if err := os.Rename(tmp, s.dataPath(d)); err != nil {
		return err
	}
	return s.forgetUnsettled(d)
}

func (s *Store) syncDir(dir string) error {
	if s.noSync {
		return nil
	}
	return syncDir(dir)
}

func (s *Store) partialDir() string { return filepath.Join(s.dir, "partial") }

func (s *Store) fanout(i int) string { return filepath.Join(s.dir, "data", fmt.Sprintf("%02x", i)) }

// dataPath is where the durable blob d is or would be; d has been checked.
func (s *Store) dataPath(d Digest) string {
	return filepath.Join(s.dir, "data", string(d[:2]), string(d))
}

func notFound(op string, d Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s blob %s: %w", op, d.Short(), ErrNotFound)
	}
	return fmt.Errorf("%s blob %s: %w", op, d.Short(), err)
}
