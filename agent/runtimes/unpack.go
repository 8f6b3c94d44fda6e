package runtimes

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"skua/internal/rootarchive"
)

// unpack puts what is in an archive into a directory, and gives how many bytes that takes. room is asked, before each
// file, for all that there is by then.
func unpack(ctx context.Context, r io.Reader, into *os.Root, room func(int64) error) (sum int64, err error) {
	return rootarchive.Walk(ctx, r, func(e rootarchive.Entry) error {
		if err := room(e.Sum); err != nil {
			return err
		}
		if err := put(into, filepath.FromSlash(e.Name), e.Header, e.Content); err != nil {
			return fmt.Errorf("%.80q: %w", e.Name, err)
		}
		return nil
	})
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
