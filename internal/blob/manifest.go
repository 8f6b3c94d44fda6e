package blob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Errors about trees that callers branch on.
var (
	ErrSealed   = errors.New("cannot be opened")
	ErrManifest = errors.New("bad manifest")
	ErrName     = errors.New("not a name on this system") // but perhaps on the one where the tree was packed
)

// Bounds of a manifest. At the default chunk size, maxChunks is a terabyte of data.
const (
	maxManifestBytes = 256 << 20
	maxEntries       = 1 << 20
	maxChunks        = 1 << 20
	maxExtents       = maxEntries + 4*maxChunks // of all entries; packing makes no more than one for each chunk and small file
	maxDepth         = 8                        // of what is in what, as JSON
	maxChunkBytes    = 16 << 20
	maxPathBytes     = 4096
	maxFileBytes     = 1 << 50
)

// ManifestVersion is what this build writes. Samples of every version are under testdata.
//
//   - 1: first release
const ManifestVersion = 1

// Manifest describes a tree: its files, directories, links and pipes, and where in which chunks the
// files' contents are. Ranges of a file that no extent covers are zero, and holes once unpacked.
type Manifest struct {
	V       int     `json:"v"`
	Entries []Entry `json:"entries,omitempty"` // by path, in byte order; parents come before children
	Chunks  []Chunk `json:"chunks,omitempty"`
}

// Entry is one name in a tree.
type Entry struct {
	Path    string      `json:"p"` // relative, clean, separated by slashes
	Kind    Kind        `json:"k"`
	Mode    fs.FileMode `json:"m,omitempty"` // permission bits only
	ModTime int64       `json:"t,omitempty"` // nanoseconds since 1970
	Size    int64       `json:"s,omitempty"` // File: bytes, holes included
	Extents []Extent    `json:"x,omitempty"` // File: in the order of offsets, not overlapping
	Target  string      `json:"l,omitempty"` // Symlink: as the link has it
}

// Kind says what an entry is.
type Kind string

// The kinds of entries. Devices and sockets are none: a socket is nothing without its process, and a
// device is not a job's to make.
const (
	File    Kind = "f"
	Dir     Kind = "d"
	Symlink Kind = "l"
	Pipe    Kind = "p" // a named pipe
)

// Extent says that Len bytes at Off of a file are the bytes at At of a chunk's content.
type Extent struct {
	Off   int64 `json:"o,omitempty"`
	Len   int64 `json:"n"`
	Chunk int   `json:"c,omitempty"` // index in Manifest.Chunks
	At    int64 `json:"a,omitempty"`
}

// Chunk is a sealed blob and the size of what is in it.
type Chunk struct {
	Digest Digest `json:"d"`
	Len    int64  `json:"n"` // bytes when opened
}

// Time is the modification time.
func (e Entry) Time() time.Time { return time.Unix(0, e.ModTime) }

// DecodeManifest reads what [Manifest.Encode] wrote and checks it as [Manifest.Check] does.
func DecodeManifest(data []byte) (Manifest, error) {
	if len(data) > maxManifestBytes {
		return Manifest{}, fmt.Errorf("%w: %w: %d bytes", ErrManifest, ErrTooLarge, len(data))
	}
	if err := checkLists(data); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.Check(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// checkLists refuses a manifest whose lists are too long, before any memory is spent on them: what takes three bytes of
// text may take a hundred there. Whether the text is JSON it leaves to the decoder.
func checkLists(data []byte) error {
	var open [maxDepth]byte // brackets
	depth, lists := 0, 0
	outer, inner := 0, 0 // elements of lists, and of lists in lists
	count := func() {
		switch lists {
		case 0:
		case 1:
			outer++
		default:
			inner++
		}
	}
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			if depth == maxDepth {
				return fmt.Errorf("%w: it is more than %d deep", ErrTooLarge, maxDepth)
			}
			open[depth] = c
			if depth++; c == '[' {
				lists++
				count()
			}
		case ']', '}':
			if depth == 0 {
				return nil // no JSON
			}
			if depth--; open[depth] == '[' {
				lists--
			}
		case ',':
			if depth > 0 && open[depth-1] == '[' {
				count()
			}
		}
	}
	if outer > maxEntries+maxChunks || inner > maxExtents {
		return fmt.Errorf("%w: lists of %d and %d", ErrTooLarge, outer, inner)
	}
	return nil
}

// Encode writes the manifest as JSON. Equal manifests give equal bytes.
func (m Manifest) Encode() ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(m)
	if err == nil && len(data) > maxManifestBytes {
		err = fmt.Errorf("%w: %w: %d bytes", ErrManifest, ErrTooLarge, len(data))
	}
	return data, err
}

// Check reports the first thing that a manifest may not have: a newer version, a path that is not clean
// and inside or whose parent is not a directory of the tree, mode bits beyond the permissions, extents
// that overlap or leave their file or chunk. Whether links stay inside is not checked here but by
// [Unpack], whose caller decides.
func (m Manifest) Check() error {
	if m.V < 1 || m.V > ManifestVersion {
		return fmt.Errorf("%w: version %d, this build knows 1 to %d", ErrManifest, m.V, ManifestVersion)
	}
	if len(m.Entries) > maxEntries || len(m.Chunks) > maxChunks {
		return fmt.Errorf("%w: %w: %d entries, %d chunks", ErrManifest, ErrTooLarge, len(m.Entries), len(m.Chunks))
	}
	extents := 0
	for _, e := range m.Entries {
		extents += len(e.Extents)
	}
	if extents > maxExtents {
		return fmt.Errorf("%w: %w: %d extents", ErrManifest, ErrTooLarge, extents)
	}
	for i, c := range m.Chunks {
		if err := c.Digest.check(); err != nil {
			return fmt.Errorf("%w: chunk %d: %w", ErrManifest, i, err)
		}
		if c.Len < 1 || c.Len > maxChunkBytes {
			return fmt.Errorf("%w: chunk %d has %d bytes", ErrManifest, i, c.Len)
		}
	}
	dirs := map[string]bool{".": true}
	last := ""
	for _, e := range m.Entries {
		if err := m.checkEntry(e, last, dirs); err != nil {
			return fmt.Errorf("%w: entry %.200q: %w", ErrManifest, e.Path, err)
		}
		last = e.Path
		if e.Kind == Dir {
			dirs[e.Path] = true
		}
	}
	return nil
}

func (m Manifest) checkEntry(e Entry, last string, dirs map[string]bool) error {
	switch {
	case !fs.ValidPath(e.Path) || e.Path == "." || len(e.Path) > maxPathBytes || strings.Contains(e.Path, "\x00"):
		return errors.New("not a clean relative path")
	case e.Path <= last:
		return errors.New("out of order")
	case !dirs[path.Dir(e.Path)]:
		return errors.New("its parent is not a directory of the tree")
	case e.Mode != e.Mode.Perm():
		return fmt.Errorf("mode %#o has more than permission bits", uint32(e.Mode))
	case e.Kind != File && (e.Size != 0 || len(e.Extents) != 0):
		return errors.New("only a file has contents")
	case e.Kind != Symlink && e.Target != "":
		return errors.New("only a symbolic link has a target")
	}
	switch e.Kind {
	case Dir, Pipe:
		return nil
	case Symlink:
		if e.Target == "" || len(e.Target) > maxPathBytes || strings.Contains(e.Target, "\x00") {
			return errors.New("a symbolic link without a usable target")
		}
		return nil
	case File:
		return m.checkExtents(e)
	}
	return fmt.Errorf("kind %.10q is not known here", e.Kind)
}

func (m Manifest) checkExtents(e Entry) error {
	if e.Size < 0 || e.Size > maxFileBytes {
		return fmt.Errorf("size %d", e.Size)
	}
	end := int64(0)
	for _, x := range e.Extents {
		switch {
		case x.Chunk < 0 || x.Chunk >= len(m.Chunks):
			return fmt.Errorf("chunk %d of %d", x.Chunk, len(m.Chunks))
		case x.Len < 1 || x.Len > maxChunkBytes || x.At < 0 || x.At > m.Chunks[x.Chunk].Len-x.Len:
			return fmt.Errorf("%d bytes at %d of a chunk of %d", x.Len, x.At, m.Chunks[x.Chunk].Len)
		case x.Off < end || x.Off > e.Size-x.Len:
			return fmt.Errorf("%d bytes at %d of a file of %d, after %d", x.Len, x.Off, e.Size, end)
		}
		end = x.Off + x.Len
	}
	return nil
}

// DataBytes is how many bytes of files are in chunks: what unpacking writes, holes not counted.
func (m Manifest) DataBytes() int64 {
	var n int64
	for _, e := range m.Entries {
		for _, x := range e.Extents {
			n += x.Len
		}
	}
	return n
}

// Sub returns the tree below the directory dir, as a manifest of its own.
func (m Manifest) Sub(dir string) Manifest {
	sub := Manifest{V: m.V, Chunks: m.Chunks}
	for _, e := range m.Entries {
		if rest, ok := strings.CutPrefix(e.Path, dir+"/"); ok {
			e.Path = rest
			sub.Entries = append(sub.Entries, e)
		}
	}
	return sub
}

// Sink takes blobs. It is called by several goroutines at once.
type Sink interface {
	// Has reports whether the sink has d already, so that it need not be put.
	Has(ctx context.Context, d Digest) (bool, error)
	// Put stores data, whose digest is d. The caller uses the slice again afterwards.
	Put(ctx context.Context, d Digest, data []byte) error
}

// Source gives blobs. It is called by several goroutines at once.
type Source interface {
	// Get returns the blob d, which has at most limit bytes, in buf if that has room for it. Whoever calls it verifies
	// what comes.
	Get(ctx context.Context, d Digest, limit int64, buf []byte) ([]byte, error)
}

// SaveManifest puts a manifest into sink, sealed like a chunk, and returns the address by which
// [LoadManifest] finds it. That digest stands for the whole tree: whoever has it and the key gets
// exactly these bytes or an error.
func SaveManifest(ctx context.Context, sink Sink, key Key, m Manifest) (Digest, error) {
	data, err := m.Encode()
	if err != nil {
		return "", err
	}
	s, err := newSealer(key)
	if err != nil {
		return "", fmt.Errorf("save manifest: %w", err)
	}
	defer s.close()
	d, sealed := s.seal(manifestKind, append(make([]byte, headroom, headroom+len(data)), data...))
	if have, err := sink.Has(ctx, d); err != nil || have {
		return d, err
	}
	return d, sink.Put(ctx, d, sealed)
}

// LoadManifest gets the manifest at d from src, verifies, opens and checks it.
func LoadManifest(ctx context.Context, src Source, key Key, d Digest) (Manifest, error) {
	if err := d.check(); err != nil {
		return Manifest{}, fmt.Errorf("load manifest: %w", err)
	}
	sealed, err := src.Get(ctx, d, maxManifestBytes+sealOverhead, nil)
	if err != nil {
		return Manifest{}, fmt.Errorf("load manifest: %w", err)
	}
	s, err := newSealer(key)
	if err != nil {
		return Manifest{}, fmt.Errorf("load manifest: %w", err)
	}
	defer s.close()
	data, err := s.open(manifestKind, d, sealed, maxManifestBytes)
	if err != nil {
		return Manifest{}, fmt.Errorf("load manifest: %w", err)
	}
	return DecodeManifest(data)
}

// Local is a [Store] as a [Sink] and [Source].
type Local struct{ Store *Store }

// Has implements [Sink].
func (l Local) Has(_ context.Context, d Digest) (bool, error) { return l.Store.Has(d), nil }

// Put implements [Sink].
func (l Local) Put(_ context.Context, d Digest, data []byte) error {
	_, err := l.Store.Put(d, bytes.NewReader(data))
	return err
}

// Get implements [Source].
func (l Local) Get(_ context.Context, d Digest, limit int64, _ []byte) ([]byte, error) {
	return l.Store.Read(d, limit)
}
