package runtimes

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"skua/internal/blob"
)

// Bounds of an archive.
const (
	maxEntries = 1_000_000
	maxName    = 4096
	entryCosts = 512 // bytes that count for each, whatever is in it
)

// trees are what is taken of an archive: what a job sees of it. The rest of a system is of no use to it, and devices,
// sockets and the like least of all.
var trees = []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "etc"}

// unpack puts what is in an archive into a directory, and gives how many bytes that takes. An archive is tar, plain
// or compressed with gzip or zstd. room is asked, before each file, for all that there is by then.
func unpack(ctx context.Context, r io.Reader, into *os.Root, room func(int64) error) (sum int64, err error) {
	plain, end, err := plainText(r)
	if err != nil {
		return 0, err
	}
	defer end()
	t := tar.NewReader(plain)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF) && sum == 0:
			return 0, bad("it has none of /%s", strings.Join(trees, ", /"))
		case errors.Is(err, io.EOF):
			return sum, nil
		case err != nil:
			return sum, bad("%w", err)
		case n >= maxEntries:
			return sum, bad("it has more than %d files", maxEntries)
		case h.Size < 0 || len(h.Name) > maxName || len(h.Linkname) > maxName:
			return sum, bad("an entry of it is out of bounds")
		}
		name := path.Clean("/" + h.Name)[1:] // whatever it says, from the root on
		top, _, _ := strings.Cut(name, "/")
		if !slices.Contains(trees, top) {
			continue
		}
		sum += entryCosts
		if h.Typeflag == tar.TypeReg {
			sum += h.Size
		}
		if err := room(sum); err != nil {
			return sum, err
		}
		if err := put(into, filepath.FromSlash(name), h, t); err != nil {
			return sum, fmt.Errorf("%.80q: %w", name, err)
		}
	}
}

// put makes one entry.
func put(into *os.Root, name string, h *tar.Header, content io.Reader) error {
	mode := fs.FileMode(h.Mode)&0o755 | 0o444
	if h.Typeflag != tar.TypeDir {
		if err := into.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return judged(err)
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := into.MkdirAll(name, 0o755); err != nil {
			return judged(err)
		}
		return judged(into.Chmod(name, 0o755))
	case tar.TypeReg:
		if err := remove(into, name); err != nil {
			return err
		}
		f, err := into.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return judged(err)
		}
		_, err = io.Copy(f, content)
		if err != nil && !isDisk(err) {
			err = bad("%w", err)
		}
		return errors.Join(err, f.Chmod(mode), f.Close())
	case tar.TypeSymlink:
		if err := remove(into, name); err != nil {
			return err
		}
		return judged(into.Symlink(h.Linkname, name))
	case tar.TypeLink:
		if err := remove(into, name); err != nil {
			return err
		}
		return judged(into.Link(filepath.FromSlash(path.Clean("/" + h.Linkname)[1:]), name))
	}
	return nil // a device or the like
}

// remove makes way for an entry of the same name that comes later. Directories stay.
func remove(into *os.Root, name string) error {
	fi, err := into.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return judged(err)
	case fi.IsDir():
		return bad("it is a directory, too")
	}
	return into.Remove(name)
}

// judged tells errors of the disk from those that the archive is to blame for, such as a link that leads out of it.
func judged(err error) error {
	if err == nil || isDisk(err) {
		return err
	}
	return bad("%w", err)
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrArchive, fmt.Errorf(format, args...))
}

// plainText gives what a file holds, uncompressed. end must be called when nothing more is read.
func plainText(r io.Reader) (plain io.Reader, end func(), err error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(4)
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
