// Package history keeps the jobs that have ended and are done with, on disk, where they can be asked for without
// being in memory.
//
// It is a list of lines in files that only grow: one for each job, in the order in which the queue log says that
// the job was done with, each with the number of that event and a checksum. So it follows from the log: whoever
// replays the log and adds what is newer than [Store.Last] gets the same history, with no job twice.
//
// Files that are old or too many are removed whole, the oldest first. A line that is damaged is passed over and
// reported; nothing else depends on it. The package knows no policy, and no expressions: it gives ads.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"skua/internal/diag"
	"skua/internal/durable"
)

// Config says where a history is and how much of it is kept.
type Config struct {
	Dir      string        // required
	MaxFile  int64         // bytes after which a new file begins; 0 means 64 MiB
	MaxBytes int64         // of all files, beyond which the oldest are removed; 0 means 10 GiB
	MaxAge   time.Duration // after which they are, too; 0 means a year
	Logger   *slog.Logger  // nil means no logging
}

// Store is a history. One goroutine at a time may add to it; reading is possible meanwhile.
type Store struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	files []file     // in order
	last  uint64     // sequence of the last entry; 0 for none
	tail  *os.File   // the last of files; nil when the next entry begins a new one
	torn  bool       // what is behind the end of tail is half a line
	dirty bool       // something is not on disk yet
}

// file is one file of a history.
type file struct {
	first    uint64 // sequence of its first entry
	bytes    int64  // of whole lines
	clusters span   // that are in it; none when that is not known
	closed   bool   // it ends with its closing line
}

// span is a range of clusters.
type span struct{ lowest, highest int }

func (s *span) add(cluster int) {
	if s.highest == 0 {
		s.lowest, s.highest = cluster, cluster
	}
	s.lowest, s.highest = min(s.lowest, cluster), max(s.highest, cluster)
}

const suffix = ".history"

// Open opens the history in a directory, and makes it when it is not there. What a crash has left of a last line is
// cut off.
func Open(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open history: no directory")
	}
	if cfg.MaxFile == 0 {
		cfg.MaxFile = 64 << 20
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 10 << 30
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 365 * 24 * time.Hour
	}
	s := &Store{cfg: cfg, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open history: %w", err), s.Close())
	}
	return s, nil
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || first == 0 {
			continue // somebody's notes
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		s.files = append(s.files, file{first: first, bytes: info.Size()})
	}
	slices.SortFunc(s.files, func(a, b file) int { return cmp.Compare(a.first, b.first) })
	for i := range s.files {
		if err := s.openFile(&s.files[i], i == len(s.files)-1); err != nil {
			return err
		}
	}
	return errors.Join(s.findLast(), s.trim(time.Now()))
}

// openFile finds out what is in a file: of a closed one from its last line, of the last one from all of them.
func (s *Store) openFile(f *file, isLast bool) error {
	in, err := os.OpenFile(s.path(f.first), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	size, bad := f.bytes, 0
	whole := int64(-1) // where the last good line ends
	err = backwards(in, size, func(line []byte, at int64) bool {
		end := at + int64(len(line)) + 1
		if clusters, ok := parseClosing(line); ok && end == size {
			f.clusters, f.closed, whole = clusters, true, end
			return false
		}
		if !isLast {
			return false // a crash kept it from being closed: it is read for whatever is asked
		}
		e, err := parse(line)
		switch {
		case end > size || err != nil && whole < 0:
			bad++
		case whole < 0:
			whole = end
			fallthrough
		case err == nil:
			f.clusters.add(e.ID.Cluster)
		}
		return true
	})
	if err != nil || !isLast {
		return errors.Join(err, in.Close())
	}
	if bad > 0 {
		s.log.Warn("the last lines of the history are not whole; they are written again if the queue log has them", diag.KeyFile, in.Name(), "lines", bad)
		f.bytes = max(whole, 0)
		if err := in.Truncate(f.bytes); err != nil {
			return errors.Join(err, in.Close())
		}
	}
	if f.closed {
		return in.Close() // the next entry begins a new one
	}
	s.tail = in
	return nil
}

// findLast finds the last entry of all.
func (s *Store) findLast() error {
	for _, f := range slices.Backward(s.files) {
		in, err := os.Open(s.path(f.first))
		if err != nil {
			return err
		}
		err = backwards(in, f.bytes, func(line []byte, _ int64) bool {
			if e, err := parse(line); err == nil {
				s.last = e.Seq
			}
			return s.last == 0
		})
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
		if s.last > 0 {
			return nil
		}
	}
	return nil
}

func (s *Store) path(first uint64) string {
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("%020d%s", first, suffix))
}

// Last gives the sequence of the last entry, 0 for an empty history.
func (s *Store) Last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Add adds entries, which are in the order of their sequences. Those that are not newer than the last one are there
// already and passed over. They are on disk when the next Sync returns.
func (s *Store) Add(entries ...*Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var line []byte
	for _, e := range entries {
		if e.Seq <= s.last {
			continue
		}
		var err error
		if line, err = e.append(line[:0]); err != nil {
			return fmt.Errorf("history: %w", err)
		}
		if err := s.makeRoom(e.Seq); err != nil {
			return fmt.Errorf("history: %w", err)
		}
		if err := s.write(line); err != nil {
			return fmt.Errorf("history: %w", err)
		}
		s.files[len(s.files)-1].clusters.add(e.ID.Cluster)
		s.last = e.Seq
	}
	return nil
}

// makeRoom makes the file ready in which the next entry goes. It is called with mu held.
func (s *Store) makeRoom(seq uint64) error {
	if s.tail != nil {
		end := &s.files[len(s.files)-1]
		if s.torn {
			if err := s.tail.Truncate(end.bytes); err != nil {
				return err
			}
			s.torn = false
		}
		if end.bytes < s.cfg.MaxFile {
			return nil
		}
		if !end.closed {
			if err := s.write(closing(end.clusters)); err != nil {
				return err
			}
			end.closed = true
		}
		if err := s.tail.Sync(); err != nil { // it stays the tail, and is tried again
			return err
		}
		s.tail.Close() // it is on disk
		s.tail = nil
	}
	f, err := os.OpenFile(s.path(seq), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	s.tail = f
	s.files = append(s.files, file{first: seq})
	return errors.Join(durable.Names(s.cfg.Dir), s.trim(time.Now()))
}

// write appends a line to the tail. It is called with mu held.
func (s *Store) write(line []byte) error {
	end := &s.files[len(s.files)-1]
	if _, err := s.tail.WriteAt(line, end.bytes); err != nil {
		s.torn = true
		return err
	}
	end.bytes += int64(len(line))
	s.dirty = true
	return nil
}

// Sync puts what was added on disk.
func (s *Store) Sync() error {
	s.mu.Lock()
	tail, dirty := s.tail, s.dirty
	s.dirty = false
	s.mu.Unlock()
	if !dirty || tail == nil {
		return nil
	}
	// Without the lock, so that nobody waits for the disk. A tail that was closed meanwhile has been synced.
	if err := tail.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// trim removes the oldest files beyond the bounds, never the last one. It is called with mu held, or alone.
func (s *Store) trim(now time.Time) error {
	var total int64
	for _, f := range s.files {
		total += f.bytes
	}
	for len(s.files) > 1 {
		path := s.path(s.files[0].first)
		info, err := os.Stat(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil && total <= s.cfg.MaxBytes && now.Sub(info.ModTime()) <= s.cfg.MaxAge {
			return nil
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		s.log.Info("old history is removed", diag.KeyFile, path)
		total -= s.files[0].bytes
		s.files = s.files[1:]
	}
	return nil
}

// Close puts everything on disk and closes the files.
func (s *Store) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tail != nil {
		err = errors.Join(err, s.tail.Close())
		s.tail = nil
	}
	return err
}
