package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"skua/internal/blob"
)

// countingSink is a store that counts what it is given.
type countingSink struct {
	blob.Local
	mu   sync.Mutex
	puts int
}

func (c *countingSink) Put(ctx context.Context, d blob.Digest, data []byte) error {
	c.mu.Lock()
	c.puts++
	c.mu.Unlock()
	return c.Local.Put(ctx, d, data)
}

func newSink(t testing.TB) *countingSink {
	t.Helper()
	s, err := blob.OpenStore(blob.StoreConfig{Dir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return &countingSink{Local: blob.Local{Store: s}}
}

// randomBytes is the same for the same seed and does not compress.
func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(b)
	return b
}

// write makes a file and its directories.
func write(t testing.TB, dir, name string, data []byte, mode fs.FileMode) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// makeTree makes a tree with one of everything that can be packed.
func makeTree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "empty", nil, 0o644)
	write(t, dir, "a.txt", []byte("hello\n"), 0o640)
	write(t, dir, "a/run.sh", []byte("#!/bin/sh\n"), 0o755)
	write(t, dir, "a/deep/er/file", bytes.Repeat([]byte("deep "), 5000), 0o400)
	write(t, dir, "zeros", make([]byte, 3<<20+123), 0o644)
	write(t, dir, "big", randomBytes(1, 2<<20+4097), 0o644)
	for i := range 40 { // more than one chunk of small files
		write(t, dir, fmt.Sprintf("many/%02d", i), randomBytes(uint64(100+i), 50_000+i), 0o644)
	}
	if err := os.Mkdir(filepath.Join(dir, "emptydir"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range []int64{5 << 20, 64<<20 + 77} {
		if _, err := f.WriteAt([]byte("island"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(100 << 20); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Symlink("../a.txt", filepath.Join(dir, "a", "link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "a", "deep"), 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(filepath.Join(dir, "a", "deep"), 0o755) })
	}
	old := time.Date(2020, 2, 29, 12, 0, 0, 123456000, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, "a", "deep"), old, old); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listTree describes everything below dir, one line each.
func listTree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", filepath.ToSlash(rel), fi.Mode())
		switch fi.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %s", fi.Size(), blob.Sum(data))
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s\n", target)
			return nil
		}
		fmt.Fprintf(&b, " %v\n", fi.ModTime().UTC())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pack(t testing.TB, cfg blob.PackConfig) blob.Manifest {
	t.Helper()
	m, err := blob.Pack(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPackUnpackGivesTheSameTree(t *testing.T) {
	tree, sink, key := makeTree(t), newSink(t), blob.NewKey()
	m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
	d, err := blob.SaveManifest(t.Context(), sink, key, m)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = blob.LoadManifest(t.Context(), sink, key, d); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	var last blob.Stats
	err = blob.Unpack(t.Context(), blob.UnpackConfig{
		Manifest: m, Source: sink, Key: key, Dir: out,
		MaxBytes: m.DataBytes(), Progress: func(s blob.Stats) { last = s },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(out, "a", "deep"), 0o755) })
	if got, want := listTree(t, out), listTree(t, tree); got != want {
		t.Errorf("unpacked\n%s\nwant\n%s", got, want)
	}
	if last.DataBytes != m.DataBytes() {
		t.Errorf("progress ended at %d bytes, want %d", last.DataBytes, m.DataBytes())
	}
}

func TestEverySizeOfFile(t *testing.T) {
	for _, n := range []int{1, 2, 100, 255, 256, 257, 4095, 4096, 4097, 64 << 10, 64<<10 + 1, 1 << 20, 1<<20 + 1} {
		for kind, data := range map[string][]byte{"text": bytes.Repeat([]byte("a"), n), "random": randomBytes(1, n), "zero": make([]byte, n)} {
			tree, src, key := t.TempDir(), dirSource(t.TempDir()), blob.NewKey()
			write(t, tree, "f", data, 0o644)
			m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: src})
			d, err := blob.SaveManifest(t.Context(), src, key, m)
			if err != nil {
				t.Fatal(err)
			}
			if m, err = blob.LoadManifest(t.Context(), src, key, d); err != nil {
				t.Fatalf("%d bytes of %s: %v", n, kind, err)
			}
			out := t.TempDir()
			if err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: src, Key: key, Dir: out, MaxBytes: int64(n)}); err != nil {
				t.Fatalf("%d bytes of %s: %v", n, kind, err)
			}
			if got, err := os.ReadFile(filepath.Join(out, "f")); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes of %s came back as %d, %v", n, kind, len(got), err)
			}
		}
	}
}

func TestUnchangedTreeMovesNothing(t *testing.T) {
	tree, sink, key := makeTree(t), newSink(t), blob.NewKey()
	first := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
	before := sink.puts
	var last blob.Stats
	second := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink, Progress: func(s blob.Stats) { last = s }})
	if sink.puts != before || last.NewBytes != 0 {
		t.Errorf("the second pack put %d chunks, %d bytes; want none", sink.puts-before, last.NewBytes)
	}
	a, _ := first.Encode()
	b, _ := second.Encode()
	if !bytes.Equal(a, b) {
		t.Errorf("two packs of one tree gave different manifests")
	}

	// One changed page costs one chunk.
	f, err := os.OpenFile(filepath.Join(tree, "big"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("x"), 1<<20)
	f.Close()
	pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
	if got := sink.puts - before; got != 1 {
		t.Errorf("after one changed page %d chunks were put, want 1", got)
	}

	// Under another key nothing is recognised.
	other := newSink(t)
	m := pack(t, blob.PackConfig{Dir: tree, Key: blob.NewKey(), Sink: other})
	for _, c := range m.Chunks {
		if sink.Store.Has(c.Digest) {
			t.Errorf("chunk %s is the same under two keys", c.Digest.Short())
		}
	}
}

func TestHolesCostNothing(t *testing.T) {
	tree, sink, key := t.TempDir(), newSink(t), blob.NewKey()
	f, err := os.Create(filepath.Join(tree, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 8 << 30
	if err := f.Truncate(size); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	if _, err := f.WriteAt([]byte("end"), size-3); err != nil {
		t.Fatal(err)
	}
	m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
	if n := m.DataBytes(); n > 1<<20 {
		t.Errorf("a hole of 8 GB was packed as %d bytes", n)
	}
	out := t.TempDir()
	if err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: out, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(out, "huge"))
	if err != nil || fi.Size() != size {
		t.Errorf("unpacked %v, %v; want %d bytes", fi, err, int64(size))
	}
}

func TestPackIncludesOnlyWhatIsAsked(t *testing.T) {
	tree, sink, key := makeTree(t), newSink(t), blob.NewKey()
	m := pack(t, blob.PackConfig{Dir: tree, Include: []string{"a/deep/er", "a.txt", "a/deep"}, Key: key, Sink: sink})
	var got []string
	for _, e := range m.Entries {
		got = append(got, e.Path)
	}
	if want := "a a.txt a/deep a/deep/er a/deep/er/file"; strings.Join(got, " ") != want {
		t.Errorf("packed %q, want %q", got, want)
	}
	sub := m.Sub("a/deep")
	if err := sub.Check(); err != nil || len(sub.Entries) != 2 || sub.Entries[1].Path != "er/file" {
		t.Errorf("Sub = %+v, %v", sub.Entries, err)
	}
	for _, bad := range []string{"../x", "/etc", "missing", "a.txt/x"} {
		if _, err := blob.Pack(t.Context(), blob.PackConfig{Dir: tree, Include: []string{bad}, Key: key, Sink: sink}); !errors.As(err, new(*blob.TreeError)) {
			t.Errorf("of %q Pack says %v, want a TreeError", bad, err)
		}
	}
}

// brokenSink takes nothing.
type brokenSink struct{ *countingSink }

func (brokenSink) Put(context.Context, blob.Digest, []byte) error { return io.ErrClosedPipe }

// What the sink says, or the caller, is not taken for an error of the tree.
func TestErrorsOfTheSink(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tt := range []struct {
		ctx  context.Context
		sink blob.Sink
		want error
	}{
		{t.Context(), brokenSink{newSink(t)}, io.ErrClosedPipe},
		{ended, newSink(t), context.Canceled},
	} {
		_, err := blob.Pack(tt.ctx, blob.PackConfig{Dir: makeTree(t), Key: blob.NewKey(), Sink: tt.sink})
		if !errors.Is(err, tt.want) || errors.As(err, new(*blob.TreeError)) {
			t.Errorf("Pack says %v, want %v and no TreeError", err, tt.want)
		}
	}
}

// Directories can lie deeper than a path reaches. A manifest has no such paths, so none are packed.
func TestPathsWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.MkdirAll(strings.Repeat(strings.Repeat("d", 200)+"/", 50)+"end", 0o755); err != nil {
		t.Skip("no such paths here:", err)
	}
	if _, err := blob.Pack(t.Context(), blob.PackConfig{Dir: dir, Key: blob.NewKey(), Sink: newSink(t)}); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("Pack = %.200v, want ErrTooLarge", err)
	}
}

func TestDamageIsRefusedAndLeavesNothing(t *testing.T) {
	tree, key := makeTree(t), blob.NewKey()
	for _, tt := range []struct {
		name  string
		spoil func(data []byte) []byte
	}{
		{"one bit", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }},
		{"empty", func([]byte) []byte { return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sink := newSink(t)
			m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
			last := m.Chunks[len(m.Chunks)-1].Digest
			src := spoiledSource{sink, last, tt.spoil}
			out := t.TempDir()
			err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: src, Key: key, Dir: out, MaxBytes: 1 << 30})
			if !errors.Is(err, blob.ErrMismatch) {
				t.Errorf("Unpack = %v, want ErrMismatch", err)
			}
			if left := listTree(t, out); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
	t.Run("another key", func(t *testing.T) {
		sink := newSink(t)
		m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
		out := filepath.Join(t.TempDir(), "new")
		err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: blob.NewKey(), Dir: out, MaxBytes: 1 << 30})
		if !errors.Is(err, blob.ErrSealed) {
			t.Errorf("Unpack = %v, want ErrSealed", err)
		}
		if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory that Unpack made is still there: %v", err)
		}
	})
	t.Run("a chunk is no manifest", func(t *testing.T) {
		sink := newSink(t)
		m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
		if _, err := blob.LoadManifest(t.Context(), sink, key, m.Chunks[0].Digest); !errors.Is(err, blob.ErrSealed) {
			t.Errorf("LoadManifest = %v, want ErrSealed", err)
		}
	})
	t.Run("too large", func(t *testing.T) {
		sink := newSink(t)
		m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
		err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: t.TempDir(), MaxBytes: m.DataBytes() - 1})
		if !errors.Is(err, blob.ErrTooLarge) {
			t.Errorf("Unpack = %v, want ErrTooLarge", err)
		}
	})
	t.Run("not empty", func(t *testing.T) {
		sink := newSink(t)
		m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
		out := t.TempDir()
		write(t, out, "precious", []byte("x"), 0o644)
		if err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: out, MaxBytes: 1 << 30}); err == nil {
			t.Error("Unpack wrote into a directory that was not empty")
		}
		if got := listTree(t, out); !strings.HasPrefix(got, "precious ") || strings.Count(got, "\n") != 1 {
			t.Errorf("the directory has changed:\n%s", got)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		sink := newSink(t)
		m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
		ctx, cancel := context.WithCancel(t.Context())
		out := t.TempDir()
		err := blob.Unpack(ctx, blob.UnpackConfig{
			Manifest: m, Source: sink, Key: key, Dir: out, MaxBytes: 1 << 30,
			Progress: func(blob.Stats) { cancel() },
		})
		if !errors.Is(err, context.Canceled) || listTree(t, out) != "" {
			t.Errorf("Unpack = %v, left %q", err, listTree(t, out))
		}
		if _, err := blob.Pack(ctx, blob.PackConfig{Dir: tree, Key: key, Sink: sink}); !errors.Is(err, context.Canceled) {
			t.Errorf("Pack = %v", err)
		}
	})
}

// spoiledSource damages one blob.
type spoiledSource struct {
	blob.Source
	which blob.Digest
	spoil func([]byte) []byte
}

func (s spoiledSource) Get(ctx context.Context, d blob.Digest, limit int64, buf []byte) ([]byte, error) {
	data, err := s.Source.Get(ctx, d, limit, buf)
	if d == s.which {
		data = s.spoil(data)
	}
	return data, err
}

func TestLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	for _, tt := range []struct {
		target string
		inside bool
	}{
		{"../other", true},
		{"sibling", true},
		{".", true},
		{"..", true},
		{"../..", false},
		{"../../etc/passwd", false},
		{"sibling/../../../x", false},
		{"/etc/passwd", false},
		{`..\..\x`, false},
		{`C:/x`, false},
	} {
		t.Run(tt.target, func(t *testing.T) {
			tree, sink, key := t.TempDir(), newSink(t), blob.NewKey()
			if err := os.Mkdir(filepath.Join(tree, "d"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(tt.target, filepath.Join(tree, "d", "link")); err != nil {
				t.Fatal(err)
			}
			_, err := blob.Pack(t.Context(), blob.PackConfig{Dir: tree, Key: key, Sink: sink})
			if (err == nil) != tt.inside {
				t.Errorf("Pack = %v, want inside %v", err, tt.inside)
			}
			m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink, OutsideLinks: true})
			err = blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: t.TempDir()})
			if (err == nil) != tt.inside {
				t.Errorf("Unpack = %v, want inside %v", err, tt.inside)
			}
			out := t.TempDir()
			err = blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: out, OutsideLinks: true})
			if err != nil {
				t.Errorf("Unpack with OutsideLinks = %v", err)
			}
			if got := listTree(t, out); got != listTree(t, tree) {
				t.Errorf("unpacked %s", got)
			}
		})
	}
}

func BenchmarkPack(b *testing.B)   { benchTree(b, false) }
func BenchmarkUnpack(b *testing.B) { benchTree(b, true) }

func benchTree(b *testing.B, unpack bool) {
	const size = 100 << 20
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"random", randomBytes(7, size)},
		{"text", bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog 0123456789\n"), size/55)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			tree, key := b.TempDir(), blob.NewKey()
			write(b, tree, "pages", tt.data, 0o600)
			b.SetBytes(int64(len(tt.data)))
			sink := newSink(b)
			m := pack(b, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
			for b.Loop() {
				if unpack {
					out := b.TempDir()
					err := blob.Unpack(b.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: out, MaxBytes: size})
					if err != nil {
						b.Fatal(err)
					}
					os.RemoveAll(out)
					continue
				}
				b.StopTimer()
				fresh := newSink(b) // makes 256 directories
				b.StartTimer()
				pack(b, blob.PackConfig{Dir: tree, Key: key, Sink: fresh})
			}
		})
	}
}
