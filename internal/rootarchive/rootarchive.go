// Package rootarchive reads the archives of runtime roots: directory trees of a system, made with tar, plain or
// compressed with gzip or zstd. Agents unpack them, and the matchmaker looks whether they will before it takes one.
//
// An archive comes from a stranger. The rule that governs the package: what is given to the caller is within bounds,
// and its name leads nowhere but down from the root. The package writes nothing, and does not follow links; whoever
// unpacks must see to it that links lead nowhere either.
package rootarchive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"skua/internal/blob"
)

// ErrBad is the error of what is no archive of a runtime root, and will be none however often it is read.
var ErrBad = errors.New("the archive is no good")

// DefaultRoom is how many bytes of runtime roots, unpacked, a machine keeps if nothing is said.
const DefaultRoom = 10e9

// Bounds of an archive.
const (
	maxEntries = 1_000_000
	maxName    = 4096
	maxBytes   = 1 << 50
	entryCosts = 512 // bytes that count for each, whatever is in it

	// maxSkipped is how much may be in an archive besides what counts. It is decompressed all the same, and little text can
	// make very much of it.
	maxSkipped = 100e9
)

// trees are what is taken of an archive: what a job sees of it. The rest of a system is of no use to it, and devices,
// sockets and the like least of all.
var trees = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "etc"}

// Entry is what an archive has under one name that counts.
type Entry struct {
	Name    string      // relative to the root, with slashes
	Header  *tar.Header // of any type
	Content io.Reader   // of a plain file; it need not be read
	Sum     int64       // bytes that all entries up to this one take unpacked
}

// Walk calls each with what counts in an archive, in the order in which it stands there, and gives how many bytes all
// of it takes unpacked. It fails with [ErrBad], with what each says, and when ctx ends.
func Walk(ctx context.Context, r io.Reader, each func(Entry) error) (sum int64, err error) {
	return walk(ctx, r, maxSkipped, each)
}

func walk(ctx context.Context, r io.Reader, skip int64, each func(Entry) error) (sum int64, err error) {
	plain, end, err := plainText(r)
	if err != nil {
		return 0, err
	}
	defer end()
	b := &bounded{ctx: ctx, r: plain, left: skip}
	t := tar.NewReader(b)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		h, err := t.Next()
		switch {
		case ctx.Err() != nil:
			return sum, ctx.Err()
		case errors.Is(err, io.EOF) && sum == 0:
			return 0, bad("it has none of /%s", strings.Join(trees, ", /"))
		case errors.Is(err, io.EOF):
			return sum, nil
		case err != nil:
			return sum, bad("%w", err)
		case n >= maxEntries:
			return sum, bad("it has more than %d files", maxEntries)
		case h.Size < 0 || h.Size > maxBytes || sum > maxBytes || len(h.Name) > maxName || len(h.Linkname) > maxName:
			return sum, bad("an entry of it is out of bounds")
		}
		name := path.Clean("/" + h.Name)[1:] // whatever it says, from the root on
		top, _, _ := strings.Cut(name, "/")
		if !slices.Contains(trees, top) {
			continue
		}
		before := sum
		sum += entryCosts
		if h.Typeflag == tar.TypeReg {
			sum += h.Size
		}
		b.left += sum - before
		err = each(Entry{Name: name, Header: h, Content: t, Sum: sum})
		switch {
		case ctx.Err() != nil:
			return sum, ctx.Err() // whatever each makes of that
		case err != nil:
			return sum, err
		}
	}
}

// bounded reads at most so much, and until ctx ends.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.left <= 0 {
		return 0, fmt.Errorf("most of it is outside of /%s", strings.Join(trees, ", /"))
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// plainText gives what a file holds, uncompressed. end must be called when nothing more is read.
func plainText(r io.Reader) (plain io.Reader, end func(), err error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(4)
	if errors.Is(err, io.EOF) {
		return nil, nil, bad("it has %d bytes", len(head))
	}
	if err != nil {
		return nil, nil, bad("%w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, bad("%w", err)
		}
		return z, func() { z.Close() }, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := blob.NewZstdReader(b)
		if err != nil {
			return nil, nil, bad("%w", err)
		}
		return z, func() { z.Close() }, nil
	}
	return b, func() {}, nil
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBad, fmt.Errorf(format, args...))
}
