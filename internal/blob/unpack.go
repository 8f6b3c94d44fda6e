package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const pageSize = 4096

// UnpackConfig says what to unpack and where to.
type UnpackConfig struct {
	Manifest Manifest // required
	Source   Source   // required
	Key      Key      // required
	Dir      string   // required: is made, or is empty
	MaxBytes int64    // required: the most that may be written, holes not counted

	// OutsideLinks allows symbolic links that are absolute or lead out of Dir. Nothing is ever
	// written through one.
	OutsideLinks bool

	Owner    *Owner      // whom everything shall belong to; nil means who unpacks
	Workers  int         // chunks fetched and opened at a time, each with some 5 MiB of memory; 0 means 4
	Progress func(Stats) // called after each chunk, never by two goroutines at once; may be nil
}

// Owner is a Unix owner and group.
type Owner struct{ UID, GID int }

// Unpack makes the tree that a manifest describes. Every chunk is verified against its address and its
// key before a byte of it is used. Ranges of zeros become holes. After an error nothing that it made is
// left. One that wraps [ErrName] says that the tree cannot be had on this system.
func Unpack(ctx context.Context, cfg UnpackConfig) (err error) {
	m := cfg.Manifest
	if err := m.Check(); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if n := m.DataBytes(); n > cfg.MaxBytes {
		return fmt.Errorf("unpack: %w: the tree has %d bytes, %d are allowed", ErrTooLarge, n, cfg.MaxBytes)
	}
	for _, e := range m.Entries {
		if !isName(e.Path, filepath.Separator == '\\') {
			return fmt.Errorf("unpack: entry %.200q: %w", e.Path, ErrName)
		}
		if e.Kind == Symlink && !cfg.OutsideLinks && !staysInside(e.Path, e.Target) {
			return fmt.Errorf("unpack: %w: entry %.200q: the symbolic link leads outside, to %.200q", ErrManifest, e.Path, e.Target)
		}
	}
	made, err := makeEmpty(cfg.Dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	u := &unpacker{cfg: cfg, root: root}
	if u.cfg.Workers <= 0 {
		u.cfg.Workers = defaultWorkers
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("unpack into %s: %w", cfg.Dir, err), u.undo())
		}
		root.Close()
		if err != nil && made {
			os.Remove(cfg.Dir)
		}
	}()
	if err := u.makeNames(ctx); err != nil {
		return err
	}
	if err := u.fill(ctx); err != nil {
		return err
	}
	return u.finish()
}

// isName reports whether the path of a sound manifest names a file on this system, which may be Windows.
func isName(path string, windows bool) bool {
	return filepath.IsLocal(filepath.FromSlash(path)) && !(windows && hasWindowsMeaning(path))
}

// makeEmpty makes dir unless it is there and empty.
func makeEmpty(dir string) (made bool, err error) {
	err = os.Mkdir(dir, 0o700)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	names, err := os.ReadDir(dir)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%s is not empty", dir)
	}
	return false, err
}

// unpacker is the state of one Unpack.
type unpacker struct {
	cfg  UnpackConfig
	root *os.Root
	made int // entries made so far

	mu    sync.Mutex // guards stats and the calls of Progress
	stats Stats
}

// makeNames makes directories, empty files of the full size, and everything else but links. Until the
// end nobody but us may enter or read them.
func (u *unpacker) makeNames(ctx context.Context) error {
	for _, e := range u.cfg.Manifest.Entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		u.made++
		var err error
		switch name := filepath.FromSlash(e.Path); e.Kind {
		case Dir:
			err = u.root.Mkdir(name, 0o700)
		case File:
			err = u.makeFile(name, e.Size)
		case Pipe:
			err = makePipe(u.root, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) makeFile(name string, size int64) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if size > 0 {
		err = f.Truncate(size)
	}
	return errors.Join(err, f.Close())
}

// piece is a range of a file that a chunk has.
type piece struct {
	path string
	Extent
}

// fill fetches every chunk that is used, once, and writes it wherever it belongs.
func (u *unpacker) fill(ctx context.Context) error {
	m := u.cfg.Manifest
	pieces := make([][]piece, len(m.Chunks))
	for _, e := range m.Entries {
		for _, x := range e.Extents {
			pieces[x.Chunk] = append(pieces[x.Chunk], piece{filepath.FromSlash(e.Path), x})
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	tasks := make(chan int)
	var wg sync.WaitGroup
	for range u.cfg.Workers {
		wg.Go(func() {
			if err := u.work(ctx, tasks, pieces); err != nil {
				stop(err)
			}
		})
	}
	for i := range pieces {
		if len(pieces[i]) == 0 {
			continue
		}
		select {
		case tasks <- i:
		case <-ctx.Done():
		}
	}
	close(tasks)
	wg.Wait()
	return context.Cause(ctx)
}

func (u *unpacker) work(ctx context.Context, tasks <-chan int, pieces [][]piece) error {
	s, err := newSealer(u.cfg.Key)
	if err != nil {
		return err
	}
	defer s.close()
	var sealed []byte
	for i := range tasks {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		c := u.cfg.Manifest.Chunks[i]
		if sealed, err = u.cfg.Source.Get(ctx, c.Digest, c.Len+sealOverhead, sealed[:0]); err != nil {
			return err
		}
		buf, err := s.open(chunkKind, c.Digest, sealed, c.Len)
		if err != nil {
			return err
		}
		if int64(len(buf)) != c.Len {
			return fmt.Errorf("blob %s: %w: %d bytes instead of %d", c.Digest.Short(), ErrSealed, len(buf), c.Len)
		}
		var written int64
		for _, p := range pieces[i] {
			if err := u.write(p, buf[p.At:p.At+p.Len]); err != nil {
				return err
			}
			written += p.Len
		}
		u.count(written, int64(len(sealed)))
	}
	return nil
}

// write writes data into its place but for pages that are zero, which the file is already.
func (u *unpacker) write(p piece, data []byte) error {
	f, err := u.root.OpenFile(p.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for from := 0; from < len(data) && err == nil; {
		if allZero(data[from:min(from+pageSize, len(data))]) {
			from += pageSize
			continue
		}
		to := from + pageSize
		for to < len(data) && !allZero(data[to:min(to+pageSize, len(data))]) {
			to += pageSize
		}
		to = min(to, len(data))
		_, err = f.WriteAt(data[from:to], p.Off+int64(from))
		from = to
	}
	return errors.Join(err, f.Close())
}

func (u *unpacker) count(data, fetched int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stats.Chunks++
	u.stats.NewChunks++
	u.stats.DataBytes += data
	u.stats.NewBytes += fetched
	if u.cfg.Progress != nil {
		u.cfg.Progress(u.stats)
	}
}

// finish makes the links and sets owners, modes and times, children before their directories.
func (u *unpacker) finish() error {
	entries := u.cfg.Manifest.Entries
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		name := filepath.FromSlash(e.Path)
		if e.Kind == Symlink {
			if err := u.root.Symlink(e.Target, name); err != nil {
				return err
			}
		}
		if o := u.cfg.Owner; o != nil {
			if err := u.root.Lchown(name, o.UID, o.GID); err != nil {
				return err
			}
		}
		if e.Kind == Symlink {
			continue // modes and times would be its target's
		}
		if err := u.root.Chmod(name, e.Mode); err != nil {
			return err
		}
		if err := u.root.Chtimes(name, e.Time(), e.Time()); err != nil {
			return err
		}
	}
	return nil
}

// undo removes what was made. Directories may have lost their write bits already.
func (u *unpacker) undo() error {
	var errs []error
	for _, e := range u.cfg.Manifest.Entries[:u.made] {
		if e.Kind == Dir {
			u.root.Chmod(filepath.FromSlash(e.Path), 0o700) // RemoveAll tells if it matters
		}
	}
	for _, e := range u.cfg.Manifest.Entries[:u.made] {
		if !strings.Contains(e.Path, "/") {
			errs = append(errs, u.root.RemoveAll(e.Path))
		}
	}
	return errors.Join(errs...)
}
