// Package runtimes keeps runtime roots on a machine: the programs and libraries that jobs bring in an archive and see in
// place of the machine's own. Each is unpacked once, whatever number of jobs uses it, and is told from others by the
// digest of its archive.
//
// The rule that governs it: what is kept stays within a bound, the one last that was used last, and none goes that a
// job uses. An archive comes from a stranger: nothing of it is written outside of its directory, and of what it holds
// only plain files, directories and links are taken, without rights that they would give to anybody.
package runtimes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"skua/internal/blob"
	"skua/internal/rootarchive"
)

// Errors that callers branch on.
var (
	ErrArchive = rootarchive.ErrBad // and will not be good, however often it is fetched
	ErrNoRoom  = errors.New("there is no room for it")
)

// DefaultMaxBytes is how much runtime roots may take if nothing is said.
const DefaultMaxBytes = rootarchive.DefaultRoom

// Config is what a Store is made of.
type Config struct {
	Dir      string // required; made when missing
	MaxBytes int64  // of all that is unpacked; 0 means [DefaultMaxBytes]

	// Free is how many bytes may be written to the disk where Dir is. Nil means any number.
	Free func() int64
}

// Store is where a machine keeps them. It owns its directory.
type Store struct {
	dir  string
	max  int64
	free func() int64

	unpacking chan struct{} // full while somebody unpacks

	mu   sync.Mutex // guards what follows
	have map[blob.Digest]*root
}

// root is one that is there, or is being made or used.
type root struct {
	bytes int64 // 0 while it is not there
	used  time.Time
	users int
}

// Names in the directory of a root.
const (
	treeName = "root"  // what was in the archive
	sizeName = "bytes" // a file with the number of them; when it was changed says when the root was used
	tempName = "new-"  // begins the name of a directory that is not finished
)

// Open opens the store in cfg.Dir, and removes what an earlier run has not finished.
func Open(cfg Config) (*Store, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the runtime roots: %w", err)
	}
	s := &Store{dir: cfg.Dir, max: cfg.MaxBytes, free: cfg.Free, unpacking: make(chan struct{}, 1), have: map[blob.Digest]*root{}}
	if s.max == 0 {
		s.max = DefaultMaxBytes
	}
	if s.free == nil {
		s.free = func() int64 { return math.MaxInt64 }
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open the runtime roots: %w", err)
	}
	for _, e := range entries {
		d := blob.Digest(e.Name())
		text, err := os.ReadFile(filepath.Join(s.dir, e.Name(), sizeName))
		bytes, perr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err := errors.Join(err, perr); err != nil || !d.Valid() || bytes < 0 {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return nil, fmt.Errorf("remove what is no runtime root: %w", err)
			}
			continue
		}
		r := &root{bytes: bytes}
		if fi, err := os.Stat(filepath.Join(s.dir, e.Name(), sizeName)); err == nil {
			r.used = fi.ModTime()
		}
		s.have[d] = r
	}
	return s, nil
}

// Get gives the directory of the root whose archive has the digest d, for as long as release has not been called. If it
// is not there, fetch brings the archive, of size bytes, as the file of that name in a directory of its own, and it is
// unpacked. Neither begins before there is room.
func (s *Store) Get(ctx context.Context, d blob.Digest, size int64, fetch func(dir *os.Root, name string) error) (path string, release func(), err error) {
	if !d.Valid() {
		return "", nil, fmt.Errorf("runtime root %.20q: %w", d, ErrArchive)
	}
	held := s.Hold(d)
	defer func() {
		if err != nil {
			held()
			err = fmt.Errorf("runtime root %s: %w", d.Short(), err)
		}
	}()
	select {
	case s.unpacking <- struct{}{}:
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
	defer func() { <-s.unpacking }()
	s.mu.Lock()
	there := s.have[d].bytes > 0
	s.mu.Unlock()
	if !there {
		if err := s.make(ctx, d, size, fetch); err != nil {
			return "", nil, err
		}
	}
	now := time.Now()
	s.mu.Lock()
	s.have[d].used = now
	s.mu.Unlock()
	_ = os.Chtimes(filepath.Join(s.dir, string(d), sizeName), now, now) // at worst it goes before its time
	return filepath.Join(s.dir, string(d), treeName), held, nil
}

// Hold keeps the root with the digest d from being removed, if it is there, until release is called.
func (s *Store) Hold(d blob.Digest) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.have[d]
	if r == nil {
		r = &root{}
		s.have[d] = r
	}
	r.users++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.users--
		if r.users == 0 && r.bytes == 0 && s.have[d] == r {
			delete(s.have, d)
		}
	})
}

// make brings and unpacks a root.
func (s *Store) make(ctx context.Context, d blob.Digest, size int64, fetch func(dir *os.Root, name string) error) error {
	if err := s.room(size, size); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(s.dir, tempName)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	dir, err := os.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer dir.Close()
	const archive = "archive"
	if err := fetch(dir, archive); err != nil {
		return err
	}
	if err := dir.Mkdir(treeName, 0o755); err != nil {
		return err
	}
	if err := dir.Chmod(treeName, 0o755); err != nil { // whatever the umask is
		return err
	}
	tree, err := dir.OpenRoot(treeName)
	if err != nil {
		return err
	}
	defer tree.Close()
	f, err := dir.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	asked := int64(0)
	bytes, err := unpack(ctx, f, tree, func(sum int64) error {
		more := sum - asked
		asked = sum
		return s.room(sum, more)
	})
	if err == nil {
		err = s.room(bytes, 0)
	}
	if err == nil {
		err = dir.WriteFile(sizeName, strconv.AppendInt(nil, bytes, 10), 0o600)
	}
	if err == nil {
		err = dir.Remove(archive)
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(s.dir, string(d)))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.have[d].bytes = max(bytes, 1)
	s.mu.Unlock()
	return nil
}

// room makes room for so many bytes of a new root, more of which are still to be written, if need be by removing others
// that nobody uses.
func (s *Store) room(bytes, more int64) error {
	if bytes > s.max {
		return fmt.Errorf("%w: it alone takes more than %d MB", ErrNoRoom, s.max/1e6)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := bytes
	free := s.free()
	var idle []blob.Digest
	for d, r := range s.have {
		sum += r.bytes
		if r.users == 0 && r.bytes > 0 {
			idle = append(idle, d)
		}
	}
	slices.SortFunc(idle, func(a, b blob.Digest) int { return s.have[a].used.Compare(s.have[b].used) })
	for _, d := range idle {
		if sum <= s.max && more <= free {
			break
		}
		// Renamed first, so that half of it is never taken for the whole.
		path, gone := filepath.Join(s.dir, string(d)), filepath.Join(s.dir, tempName+string(d))
		if err := os.Rename(path, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		sum -= s.have[d].bytes
		delete(s.have, d)
		if err := os.RemoveAll(gone); err != nil {
			return err
		}
		free = s.free()
	}
	if more > free {
		return fmt.Errorf("%w: it takes %d MB more, and %d MB of the disk may be used", ErrNoRoom, more/1e6, max(free, 0)/1e6)
	}
	if sum > s.max {
		return fmt.Errorf("%w: it and those that jobs use take more than %d MB", ErrNoRoom, s.max/1e6)
	}
	return nil
}
