package blob

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"
)

const (
	defaultChunkSize = 1 << 20
	// Files up to this size share chunks: an image has dozens of files of a few kilobytes, and each
	// chunk costs a round trip.
	smallFile      = 64 << 10
	defaultWorkers = 4 // so that some wait for the network or the disk while others work
)

// PackConfig says what to pack and where to.
type PackConfig struct {
	Dir     string   // required: the tree's root
	Include []string // what of it, as clean slash-separated relative paths; nil means all
	Key     Key      // required
	Sink    Sink     // required

	// OutsideLinks keeps symbolic links that are absolute or lead out of Dir. Right for a job's own
	// scratch, where the job can make any link; otherwise such a link is an error.
	OutsideLinks bool

	Workers   int         // chunks read, sealed and put at a time, each with some 5 MiB of memory; 0 means 4
	ChunkSize int         // 0 means 1 MiB; a multiple of 4096, so that pages of memory stay aligned
	Progress  func(Stats) // called after each chunk, never by two goroutines at once; may be nil

	// DropAfter is how long after its beginning Pack has the system forget what it reads of large files, so that their copies in
	// memory do not drive out what others have there; 0 means never. What is to be removed when it has been packed is better
	// left alone for a while: to forget what is new the system must write it first.
	DropAfter time.Duration
}

// TreeError is an error of [Pack] that lies in the tree and its files, not in the sink.
type TreeError struct{ Err error }

func (e *TreeError) Error() string { return e.Err.Error() }

func (e *TreeError) Unwrap() error { return e.Err }

// Stats counts the work of [Pack] or [Unpack] so far.
type Stats struct {
	DataBytes int64 // bytes of files read or written, holes not counted
	Chunks    int   // chunks handled
	NewChunks int   // of which the sink did not have; of [Unpack], all
	NewBytes  int64 // bytes that went to the sink or came from the source
}

// Pack stores the contents of a tree in cfg.Sink, as far as it does not have them, and returns the
// tree's manifest. The caller saves that with [SaveManifest]. Hard links become files of their own;
// set-id bits, owners and extended attributes are not kept; sockets are left out; devices, and names
// that are not UTF-8, are errors. A file that changes its size meanwhile is an error. These, and all others that are not
// the sink's, are a [TreeError]. After an error the sink may have chunks that nothing refers to.
func Pack(ctx context.Context, cfg PackConfig) (Manifest, error) {
	p := &packer{cfg: cfg, begun: time.Now(), seen: map[string]bool{}, tasks: make(chan packTask)}
	if p.cfg.Workers == 0 {
		p.cfg.Workers = defaultWorkers
	}
	if p.cfg.ChunkSize == 0 {
		p.cfg.ChunkSize = defaultChunkSize
	}
	if s := p.cfg.ChunkSize; s < 4096 || s > maxChunkBytes || s%4096 != 0 {
		return Manifest{}, fmt.Errorf("pack %s: chunk size %d", cfg.Dir, s)
	}
	if cfg.Sink == nil || p.cfg.Workers < 0 {
		return Manifest{}, fmt.Errorf("pack %s: no sink or workers", cfg.Dir)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return Manifest{}, fmt.Errorf("pack: %w", err)
	}
	defer root.Close()
	p.root = root

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for range p.cfg.Workers {
		wg.Go(func() {
			if err := p.work(ctx); err != nil {
				stop(err)
			}
		})
	}
	if err := p.walk(ctx); err != nil {
		stop(&TreeError{err}) // unless it is why the workers have stopped, or the caller has
	}
	close(p.tasks)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return Manifest{}, fmt.Errorf("pack %s: %w", cfg.Dir, err)
	}
	m := p.manifest()
	return m, m.Check()
}

// packer is the state of one Pack. The walk plans chunks and sends them to the workers, which fill in
// their digests.
type packer struct {
	cfg   PackConfig
	root  *os.Root
	tasks chan packTask
	begun time.Time

	// The walk's alone until the workers have ended.
	entries  []Entry
	seen     map[string]bool
	chunks   []*packedChunk
	bundle   []segment // small files that wait to fill a chunk
	bundled  int64     // their bytes
	bundleAt int       // the index of their chunk

	mu    sync.Mutex // guards stats and the calls of Progress
	stats Stats
}

// segment is a range of a file.
type segment struct {
	path     string
	off, len int64
}

type packTask struct {
	segs  []segment
	chunk *packedChunk
}

type packedChunk struct {
	digest Digest // "" when it is all zero
	len    int64
}

func (p *packer) walk(ctx context.Context) error {
	include := p.cfg.Include
	if include == nil {
		include = []string{"."}
	}
	for _, name := range include {
		if !fs.ValidPath(name) {
			return fmt.Errorf("%q is not a clean relative path", name)
		}
		if err := p.addParents(name); err != nil {
			return err
		}
		fi, err := p.root.Stat(name)
		if err == nil {
			err = p.tree(ctx, name, fi)
		}
		if err != nil {
			return err
		}
	}
	return p.flush(ctx)
}

// tree adds what is called name and, if that is a directory, what is below it, in the order of names.
func (p *packer) tree(ctx context.Context, name string, fi fs.FileInfo) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if name != "." && !p.seen[name] {
		if err := p.add(ctx, name, fi); err != nil {
			return err
		}
	}
	if !fi.IsDir() {
		return nil
	}
	entries, err := readDir(p.root, name, maxEntries)
	if err != nil {
		return err
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err == nil {
			err = p.tree(ctx, path.Join(name, e.Name()), fi)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readDir lists a directory in the order of names. A job can make one with millions of entries: if there are more than
// most, no more are read, and that is an error.
func readDir(root *os.Root, name string, most int) ([]fs.DirEntry, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(most + 1)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case len(entries) > most:
		return nil, tooManyFiles(most)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func tooManyFiles(most int) error { return fmt.Errorf("%w: more than %d files", ErrTooLarge, most) }

// addParents adds the directories above name.
func (p *packer) addParents(name string) error {
	for i := range len(name) {
		if name[i] != '/' || p.seen[name[:i]] {
			continue
		}
		fi, err := p.root.Lstat(name[:i])
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return fmt.Errorf("%s is not a directory", name[:i])
		}
		p.addEntry(name[:i], Dir, fi)
	}
	return nil
}

func (p *packer) addEntry(name string, k Kind, fi fs.FileInfo) *Entry {
	p.seen[name] = true
	p.entries = append(p.entries, Entry{Path: name, Kind: k, Mode: fi.Mode().Perm(), ModTime: fi.ModTime().UnixNano()})
	return &p.entries[len(p.entries)-1]
}

func (p *packer) add(ctx context.Context, name string, fi fs.FileInfo) error {
	if len(p.entries) >= maxEntries {
		return tooManyFiles(maxEntries)
	}
	if !fs.ValidPath(name) {
		return fmt.Errorf("the name %q is not UTF-8", name)
	}
	if len(name) > maxPathBytes {
		return fmt.Errorf("%w: a path of more than %d bytes, which begins with %.80q", ErrTooLarge, maxPathBytes, name)
	}
	switch fi.Mode().Type() {
	case 0:
		return p.addFile(ctx, p.addEntry(name, File, fi), fi.Size())
	case fs.ModeDir:
		p.addEntry(name, Dir, fi)
	case fs.ModeNamedPipe:
		p.addEntry(name, Pipe, fi)
	case fs.ModeSocket:
	case fs.ModeSymlink:
		target, err := p.root.Readlink(name)
		if err != nil {
			return err
		}
		if !p.cfg.OutsideLinks && !staysInside(name, target) {
			return fmt.Errorf("the symbolic link %s leads outside, to %s", name, target)
		}
		e := p.addEntry(name, Symlink, fi)
		e.Target, e.Mode = target, 0 // a link's own mode means nothing
	default:
		return fmt.Errorf("%s is a device or something else that cannot be packed", name)
	}
	return nil
}

// addFile plans the chunks of the file e, in multiples of the chunk size except for small files.
func (p *packer) addFile(ctx context.Context, e *Entry, size int64) error {
	name := e.Path
	e.Size = size
	if size == 0 {
		return nil
	}
	if size <= smallFile && size <= int64(p.cfg.ChunkSize) {
		if p.bundled+size > int64(p.cfg.ChunkSize) {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
		// A bundle takes its place in the table with its first file, and is sent when it is full.
		if len(p.bundle) == 0 {
			p.chunks = append(p.chunks, &packedChunk{})
			p.bundleAt = len(p.chunks) - 1
		}
		e.Extents = []Extent{{Len: size, Chunk: p.bundleAt, At: p.bundled}}
		p.bundle = append(p.bundle, segment{name, 0, size})
		p.bundled += size
		return nil
	}
	f, err := p.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(0); off < size; {
		n := min(int64(p.cfg.ChunkSize), size-off)
		data, err := nextData(f, off)
		if err != nil {
			return fmt.Errorf("find holes of %s: %w", name, err)
		}
		if data >= off+n { // skip the chunks that are one hole
			off = min(size, data-data%int64(p.cfg.ChunkSize))
			continue
		}
		e.Extents = append(e.Extents, Extent{Off: off, Len: n, Chunk: len(p.chunks)})
		c := &packedChunk{}
		p.chunks = append(p.chunks, c)
		if err := p.send(ctx, packTask{[]segment{{name, off, n}}, c}); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// flush sends the small files gathered so far.
func (p *packer) flush(ctx context.Context) error {
	if len(p.bundle) == 0 {
		return nil
	}
	segs := p.bundle
	p.bundle, p.bundled = nil, 0
	return p.send(ctx, packTask{segs, p.chunks[p.bundleAt]})
}

func (p *packer) send(ctx context.Context, t packTask) error {
	if len(p.chunks) > maxChunks {
		return fmt.Errorf("%w: more than %d chunks of %d bytes", ErrTooLarge, maxChunks, p.cfg.ChunkSize)
	}
	select {
	case p.tasks <- t:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// work seals chunks and puts them until there are no more.
func (p *packer) work(ctx context.Context) error {
	s, err := newSealer(p.cfg.Key)
	if err != nil {
		return err
	}
	defer s.close()
	buf := make([]byte, headroom, headroom+p.cfg.ChunkSize)
	for t := range p.tasks {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		buf = buf[:headroom]
		for _, seg := range t.segs {
			if buf, err = p.read(buf, seg); err != nil {
				return &TreeError{err}
			}
		}
		var sent int64
		t.chunk.len = int64(len(buf) - headroom)
		if !allZero(buf[headroom:]) {
			var sealed []byte
			t.chunk.digest, sealed = s.seal(chunkKind, buf)
			if sent, err = p.put(ctx, t.chunk.digest, sealed); err != nil {
				return err
			}
		}
		p.count(t.chunk.len, sent)
	}
	return nil
}

// read appends a range of a file to buf.
func (p *packer) read(buf []byte, seg segment) ([]byte, error) {
	f, err := p.root.Open(seg.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := len(buf)
	buf = buf[:n+int(seg.len)]
	if _, err := f.ReadAt(buf[n:], seg.off); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s became shorter while it was packed", seg.path)
		}
		return nil, err
	}
	if p.cfg.DropAfter > 0 && seg.len > smallFile && time.Since(p.begun) >= p.cfg.DropAfter {
		dropBehind(f, 0, seg.off+seg.len) // what was read before is on the disk by now
	}
	return buf, nil
}

// put gives a sealed chunk to the sink and returns how many bytes went there.
func (p *packer) put(ctx context.Context, d Digest, sealed []byte) (int64, error) {
	have, err := p.cfg.Sink.Has(ctx, d)
	if err != nil || have {
		return 0, err
	}
	return int64(len(sealed)), p.cfg.Sink.Put(ctx, d, sealed)
}

func (p *packer) count(data, sent int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Chunks++
	p.stats.DataBytes += data
	p.stats.NewBytes += sent
	if sent > 0 {
		p.stats.NewChunks++
	}
	if p.cfg.Progress != nil {
		p.cfg.Progress(p.stats)
	}
}

// manifest is the result once every chunk has its digest: zero chunks are left out, equal ones are one,
// and entries and chunks are in a fixed order.
func (p *packer) manifest() Manifest {
	slices.SortFunc(p.entries, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	m := Manifest{V: ManifestVersion, Entries: p.entries}
	index := map[Digest]int{}
	for i := range m.Entries {
		e := &m.Entries[i]
		kept := e.Extents[:0]
		for _, x := range e.Extents {
			c := p.chunks[x.Chunk]
			if c.digest == "" {
				continue
			}
			n, ok := index[c.digest]
			if !ok {
				n = len(m.Chunks)
				index[c.digest] = n
				m.Chunks = append(m.Chunks, Chunk{Digest: c.digest, Len: c.len})
			}
			x.Chunk = n
			kept = append(kept, x)
		}
		e.Extents = kept
	}
	return m
}

// staysInside reports whether a link at name, to target, leads to somewhere in its tree, whatever is
// there. A target with a backslash or a colon is taken to lead outside on every system, since the tree
// may be unpacked on Windows.
func staysInside(name, target string) bool {
	if path.IsAbs(target) || target == "" || hasWindowsMeaning(target) {
		return false
	}
	return fs.ValidPath(path.Join(path.Dir(name), target))
}

func hasWindowsMeaning(s string) bool {
	for _, c := range []byte(s) {
		if c == '\\' || c == ':' {
			return true
		}
	}
	return false
}

// zeros are what allZero compares with, which the runtime does many bytes at a time.
var zeros [4096]byte

func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
