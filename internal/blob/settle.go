package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// An image comes in thousands of blobs, each of which would wait for the disk twice. None is of use without the
// others, so they need not be durable one by one: those that are committed by [Upload.CommitLater] are kept apart,
// where nothing of them is believed after a power cut, until [Store.Settle] has all of them on disk.

// settlers is how many blobs are flushed at a time: the disk does that for several at once.
const settlers = 8

// unsettledDir has the unsettled blobs of this boot. A name of it that is not known to be of this boot, such as "boot"
// where systems do not number theirs, is emptied by [OpenStore].
func (s *Store) unsettledDir() string { return filepath.Join(s.dir, "unsettled", s.boot) }

// openUnsettled finds the blobs that are not settled, and drops those of before the system's start.
func (s *Store) openUnsettled() error {
	id, known := bootID()
	boots, err := os.ReadDir(filepath.Join(s.dir, "unsettled"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, b := range boots {
		if known && b.Name() == id {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, "unsettled", b.Name())); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "unsettled", id), 0o700); err != nil {
		return err
	}
	return s.findUnsettled()
}

// findUnsettled finds the blobs that were not settled when the store was last used, if that is known to have been since
// the system's start.
func (s *Store) findUnsettled() error {
	id, known := bootID()
	s.boot = id
	if !known {
		return nil
	}
	names, err := os.ReadDir(s.unsettledDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range names {
		if d := Digest(e.Name()); d.Valid() {
			s.unsettled[d] = true
		}
	}
	return nil
}

// Settle makes blobs durable that were committed for later, and gives those that are not here at all, be it that they
// were lost on the way to the disk. None is settled then, nor while it cannot be read which are here.
func (s *Store) Settle(ds ...Digest) (missing []Digest, err error) {
	var open []Digest
	for _, d := range ds {
		if s.isUnsettled(d) {
			open = append(open, d)
			continue
		}
		switch _, err := s.Size(d); {
		case errors.Is(err, ErrNotFound) || !d.Valid():
			missing = append(missing, d)
		case err != nil:
			return nil, fmt.Errorf("settle blobs: %w", err)
		}
	}
	if len(missing) > 0 || len(open) == 0 {
		return missing, nil
	}
	if missing, err = s.flush(open); err != nil || len(missing) > 0 {
		return missing, err
	}
	dirs := map[string]bool{}
	for _, d := range open {
		if err := s.settled(d); err != nil {
			return nil, fmt.Errorf("settle blob %s: %w", d.Short(), err)
		}
		dirs[filepath.Dir(s.dataPath(d))] = true
	}
	for dir := range dirs {
		if err := s.syncDir(dir); err != nil {
			return nil, fmt.Errorf("settle blobs: %w", err)
		}
	}
	return nil, nil
}

// flush brings the content of unsettled blobs to the disk. One whose content has been lost on the way is dropped.
func (s *Store) flush(ds []Digest) (missing []Digest, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards missing and err
	next := make(chan Digest)
	for range min(settlers, len(ds)) {
		wg.Go(func() {
			for d := range next {
				if s.at(d, syncFile) == nil {
					continue
				}
				rerr := s.forgetUnsettled(d)
				mu.Lock()
				missing, err = append(missing, d), errors.Join(err, rerr)
				mu.Unlock()
			}
		})
	}
	for _, d := range ds {
		next <- d
	}
	close(next)
	wg.Wait()
	return missing, err
}

// settled moves a blob that has been flushed among the others.
func (s *Store) settled(d Digest) error {
	s.loose.Lock()
	defer s.loose.Unlock()
	if !s.unsettled[d] {
		return nil // somebody else was as quick
	}
	if err := os.Rename(filepath.Join(s.unsettledDir(), string(d)), s.dataPath(d)); err != nil {
		return err
	}
	delete(s.unsettled, d)
	return nil
}

// unsettle makes the verified file tmp an unsettled blob.
func (s *Store) unsettle(tmp string, d Digest) error {
	s.loose.Lock()
	defer s.loose.Unlock()
	if err := os.Rename(tmp, filepath.Join(s.unsettledDir(), string(d))); err != nil {
		return err
	}
	s.unsettled[d] = true
	return nil
}

// forgetUnsettled removes the unsettled copy of a blob, if there is one.
func (s *Store) forgetUnsettled(d Digest) error {
	s.loose.Lock()
	defer s.loose.Unlock()
	if !s.unsettled[d] {
		return nil
	}
	delete(s.unsettled, d)
	return ignoreMissing(os.Remove(filepath.Join(s.unsettledDir(), string(d))))
}

func (s *Store) isUnsettled(d Digest) bool {
	s.loose.Lock()
	defer s.loose.Unlock()
	return s.unsettled[d]
}

// at calls do with the file of blob d; d has been checked.
func (s *Store) at(d Digest, do func(path string) error) error {
	if s.isUnsettled(d) {
		err := do(filepath.Join(s.unsettledDir(), string(d)))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		} // else it has just been settled
	}
	return do(s.dataPath(d))
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // Windows flushes only what could be written to
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
