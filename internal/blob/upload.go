package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Upload is the way of a blob into the store in several attempts. Each attempt opens the upload again
// and goes on at [Upload.Offset]. Uploads of one blob by two holders are two: neither can spoil, or
// learn of, the other's.
type Upload struct {
	store  *Store
	digest Digest
	holder string
	f      *os.File
	h      hash.Hash
	off    int64
	broken error // the file and the hash may disagree
}

// Upload begins or continues holder's upload of d. A holder is named by 1 to 64 letters, digits, "-"
// and "_". While another Upload of the same is open the error is [ErrBusy]. The caller closes it.
func (s *Store) Upload(d Digest, holder string) (*Upload, error) {
	name, err := partialName(d, holder)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	busy := s.uploads[name]
	s.uploads[name] = true
	s.mu.Unlock()
	if busy {
		return nil, fmt.Errorf("upload blob %s: %w", d.Short(), ErrBusy)
	}
	u := &Upload{store: s, digest: d, holder: holder, h: sha256.New()}
	u.f, err = os.OpenFile(filepath.Join(s.partialDir(), name), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		u.off, err = io.Copy(u.h, u.f) // the hash of what is here already; leaves the file at its end
	}
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("upload blob %s: %w", d.Short(), err)
	}
	return u, nil
}

// PartialSize returns how much of holder's upload of d is here, 0 for none.
func (s *Store) PartialSize(d Digest, holder string) (int64, error) {
	name, err := partialName(d, holder)
	if err != nil {
		return 0, err
	}
	fi, err := os.Stat(filepath.Join(s.partialDir(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up upload of %s: %w", d.Short(), err)
	}
	return fi.Size(), nil
}

// Offset is how many bytes are here.
func (u *Upload) Offset() int64 { return u.off }

// Write appends to what is here.
func (u *Upload) Write(p []byte) (int, error) {
	if u.broken != nil {
		return 0, u.broken
	}
	n, err := u.f.Write(p)
	u.h.Write(p[:n])
	u.off += int64(n)
	return n, err
}

// Restart drops what is here and sets the offset to 0.
func (u *Upload) Restart() error {
	if u.off == 0 {
		return nil
	}
	err := u.f.Truncate(0)
	if err == nil {
		_, err = u.f.Seek(0, io.SeekStart)
	}
	if err != nil {
		u.broken = fmt.Errorf("restart upload of %s: %w", u.digest.Short(), err)
		return u.broken
	}
	u.h.Reset()
	u.off = 0
	return nil
}

// Commit verifies what is here, makes it a blob durably, and records that the holder has proved to have
// it. When it hashes to something else it is dropped and the error is [ErrMismatch]. The Upload is
// then of no more use than to be closed.
func (u *Upload) Commit() error { return u.commit(false) }

// CommitLater is Commit but for that the blob will be durable only after [Store.Settle]. A power cut before that takes
// all of it.
func (u *Upload) CommitLater() error { return u.commit(true) }

func (u *Upload) commit(later bool) error {
	if u.broken != nil {
		return u.broken
	}
	if got := Digest(hex.EncodeToString(u.h.Sum(nil))); got != u.digest {
		return errors.Join(mismatch(u.digest, got), u.discard())
	}
	u.broken = errors.New("the upload has been committed")
	if err := u.store.adopt(u.f, u.digest, u.holder, later); err != nil {
		return fmt.Errorf("store blob %s: %w", u.digest.Short(), err)
	}
	return nil
}

// Close ends this attempt. What is here and not committed stays for the next.
func (u *Upload) Close() error {
	name, err := partialName(u.digest, u.holder)
	if err != nil {
		return err
	}
	if u.f != nil {
		if err = u.f.Close(); errors.Is(err, fs.ErrClosed) {
			err = nil // by Commit
		}
	}
	u.store.mu.Lock()
	delete(u.store.uploads, name)
	u.store.mu.Unlock()
	return err
}

func (u *Upload) discard() error {
	u.broken = errors.New("the upload has been dropped")
	return errors.Join(u.f.Close(), os.Remove(u.f.Name()))
}

func partialName(d Digest, holder string) (string, error) {
	if err := d.check(); err != nil {
		return "", err
	}
	if err := checkHolder(holder); err != nil {
		return "", err
	}
	return string(d) + "." + holder, nil
}

// checkHolder refuses what could not be told apart in a file name.
func checkHolder(s string) error {
	if len(s) < 1 || len(s) > 64 {
		return fmt.Errorf("blob holder %.70q: want 1 to 64 characters", s)
	}
	for _, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("blob holder %q: %q is not a letter, digit, - or _", s, c)
		}
	}
	return nil
}
