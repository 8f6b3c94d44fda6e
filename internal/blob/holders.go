package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Held reports whether the blob is here and holder has proved, by uploading it, to have it.
func (s *Store) Held(d Digest, holder string) bool { return s.Find(d, holder) == nil }

// Find is nil when [Store.Held] is true. The error is [ErrNotFound] when it is known to be false, and any other is one of
// the disk's.
func (s *Store) Find(d Digest, holder string) error {
	if !d.Valid() || checkHolder(holder) != nil {
		return notFound("find", d, fs.ErrNotExist)
	}
	if _, err := s.Size(d); err != nil {
		return err
	}
	if _, err := os.Stat(s.markPath(d, holder)); err != nil {
		return notFound("find", d, err)
	}
	return nil
}

// Hold records that holder has a blob that is here, for content that reached the store in another way
// than an upload: what the matchmaker itself made for a user.
func (s *Store) Hold(d Digest, holder string) error {
	if err := checkHolder(holder); err != nil {
		return err
	}
	if _, err := s.Size(d); err != nil {
		return err
	}
	s.mu.Lock()
	err := s.mark(d, holder)
	s.mu.Unlock()
	if err == nil {
		err = s.syncDir(filepath.Dir(s.dataPath(d)))
	}
	if err != nil {
		return fmt.Errorf("hold blob %s: %w", d.Short(), err)
	}
	return nil
}

// mark makes holder's mark. The mutex is held; the directory is still to be synced.
func (s *Store) mark(d Digest, holder string) error {
	f, err := os.OpenFile(s.markPath(d, holder), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// markPath is among the durable blobs in any case: it is true of a blob that has been lost, too.
func (s *Store) markPath(d Digest, holder string) string { return s.dataPath(d) + "." + holder }

// Swept counts what a [Store.Sweep] removed.
type Swept struct {
	Blobs    int
	Partials int
	Bytes    int64
}

// Sweep removes the blobs that live does not want and that have not been used for olderThan, with their
// marks, and uploads that have not grown for as long. A blob that is touched or committed while Sweep
// runs stays. live is called without any lock.
func (s *Store) Sweep(live func(Digest) bool, olderThan time.Duration) (Swept, error) {
	var total Swept
	before := time.Now().Add(-olderThan)
	for i := range 256 {
		if err := s.sweepFanout(s.fanout(i), live, before, &total); err != nil {
			return total, fmt.Errorf("sweep blobs: %w", err)
		}
	}
	if err := s.sweepUnsettled(live, before, &total); err != nil {
		return total, fmt.Errorf("sweep blobs: %w", err)
	}
	if err := s.sweepPartials(before, &total); err != nil {
		return total, fmt.Errorf("sweep uploads: %w", err)
	}
	return total, nil
}

func (s *Store) sweepFanout(dir string, live func(Digest) bool, before time.Time, total *Swept) error {
	entries, err := os.ReadDir(dir) // sorted: a blob comes before its marks
	if err != nil {
		return err
	}
	keep := map[Digest]bool{}
	for _, e := range entries {
		name, holder, isMark := strings.Cut(e.Name(), ".")
		d := Digest(name)
		switch {
		case !d.Valid(): // not ours
		case !isMark:
			if live(d) {
				keep[d] = true
				continue
			}
			n, removed, err := s.removeUnused(filepath.Join(dir, name), before)
			if err != nil {
				return err
			}
			keep[d] = !removed
			if removed {
				total.Blobs++
				total.Bytes += n
			}
		case !keep[d]:
			if err := s.removeMark(d, holder); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepUnsettled removes what nobody has settled: of images that were given up.
func (s *Store) sweepUnsettled(live func(Digest) bool, before time.Time, total *Swept) error {
	entries, err := os.ReadDir(s.unsettledDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		d := Digest(e.Name())
		if !d.Valid() || live(d) {
			continue
		}
		n, removed, err := s.removeUnused(filepath.Join(s.unsettledDir(), e.Name()), before)
		if err != nil {
			return err
		}
		if removed {
			if err := s.forgetUnsettled(d); err != nil {
				return err
			}
			total.Blobs++
			total.Bytes += n
		}
	}
	return nil
}

// removeMark removes the mark of a blob that has gone, unless it has come back.
func (s *Store) removeMark(d Digest, holder string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Has(d) {
		return nil
	}
	return ignoreMissing(os.Remove(s.markPath(d, holder)))
}

func (s *Store) sweepPartials(before time.Time, total *Swept) error {
	entries, err := os.ReadDir(s.partialDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		s.mu.Lock()
		busy := s.uploads[e.Name()]
		s.mu.Unlock()
		if busy {
			continue
		}
		n, removed, err := s.removeUnused(filepath.Join(s.partialDir(), e.Name()), before)
		if err != nil {
			return err
		}
		if removed {
			total.Partials++
			total.Bytes += n
		}
	}
	return nil
}

// removeUnused removes the file at path when it was last modified before the given time.
func (s *Store) removeUnused(path string, before time.Time) (size int64, removed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fi, err := os.Stat(path)
	if err != nil {
		return 0, false, ignoreMissing(err)
	}
	if !fi.ModTime().Before(before) {
		return 0, false, nil
	}
	if err := os.Remove(path); err != nil {
		return 0, false, ignoreMissing(err)
	}
	return fi.Size(), true, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
