// Package blob keeps content under the SHA-256 of what it holds, and cuts trees of files into such
// content so that only what is new has to travel.
//
// A [Store] is a directory of blobs: the matchmaker's store of inputs, outputs and checkpoints, and,
// bounded and with the longest unused evicted first, an agent's [Cache]. A blob is in the store whole and
// verified, or not at all; an upload that was cut is kept apart and goes on at its offset.
//
// [Pack] describes a tree by a [Manifest] and stores its contents as chunks; [Unpack] makes the tree
// again. Chunks and manifest are compressed, then encrypted under the job's [Key], then addressed by
// the hash of that, so whoever stores or carries them learns nothing but sizes and cannot change a
// bit unnoticed.
//
// Names, sizes and bytes come from strangers. The package refuses a name that leaves its directory, a
// digest that is not one, anything larger than the caller allows, and content that does not hash to
// its address. It does no networking and does not log.
package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Errors that callers branch on. They come wrapped with the blob and the operation.
var (
	ErrNotFound = errors.New("no such blob")
	ErrMismatch = errors.New("content does not match its digest")
	ErrBusy     = errors.New("another upload of the same blob is under way")
	ErrNoRoom   = errors.New("no room")
	ErrTooLarge = errors.New("too large")
)

// Digest is the SHA-256 of a blob's content in lower-case hexadecimal. A value from outside is made
// by [ParseDigest]; everything that takes a Digest refuses an invalid one.
type Digest string

// ParseDigest checks that s is a digest.
func ParseDigest(s string) (Digest, error) {
	d := Digest(s)
	if !d.Valid() {
		if len(s) > 80 {
			s = s[:80] + "..."
		}
		return "", fmt.Errorf("%q is not a SHA-256 in lower-case hexadecimal", s)
	}
	return d, nil
}

// Sum returns the digest of data.
func Sum(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest(hex.EncodeToString(sum[:]))
}

// SumReader reads r to its end and returns the digest and size of what it read.
func SumReader(r io.Reader) (Digest, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return Digest(hex.EncodeToString(h.Sum(nil))), n, err
}

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool {
	return len(d) == 2*sha256.Size && strings.Trim(string(d), "0123456789abcdef") == ""
}

// Short returns the first twelve digits, which is what messages for people show.
func (d Digest) Short() string {
	if len(d) > 12 {
		return string(d[:12])
	}
	return string(d)
}

func (d Digest) check() error {
	_, err := ParseDigest(string(d))
	return err
}

// mismatch says what d turned out to hold.
func mismatch(d, got Digest) error {
	return fmt.Errorf("blob %s: %w: its digest is %s", d.Short(), ErrMismatch, got.Short())
}
