package blob_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"skua/internal/blob"
)

var update = flag.Bool("update", false, "write the sample of the current version again")

// sampleKey is the key of the samples under testdata.
var sampleKey = blob.Key{1, 2, 3}

// TestSamplesOfEveryVersion reads what each released version wrote: a sealed manifest and its chunks.
func TestSamplesOfEveryVersion(t *testing.T) {
	if *update {
		writeSample(t, filepath.Join("testdata", fmt.Sprintf("v%d", blob.ManifestVersion)))
	}
	for v := 1; v <= blob.ManifestVersion; v++ {
		dir := filepath.Join("testdata", fmt.Sprintf("v%d", v))
		name, err := os.ReadFile(filepath.Join(dir, "manifest"))
		if err != nil {
			t.Fatal(err)
		}
		src := dirSource(dir)
		m, err := blob.LoadManifest(t.Context(), src, sampleKey, blob.Digest(strings.TrimSpace(string(name))))
		if err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		if err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: src, Key: sampleKey, Dir: out, MaxBytes: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		for name, want := range sampleFiles() {
			if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("version %d: %s is %d bytes, %v", v, name, len(got), err)
			}
		}
	}
}

func sampleFiles() map[string][]byte {
	return map[string][]byte{
		"hello":    []byte("hello, world\n"),
		"d/random": randomBytes(3, 100),
		"d/zeros":  append(make([]byte, 70_000), 'x'),
	}
}

func writeSample(t *testing.T, dir string) {
	tree := t.TempDir()
	for name, data := range sampleFiles() {
		write(t, tree, name, data, 0o644)
	}
	os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := pack(t, blob.PackConfig{Dir: tree, Key: sampleKey, Sink: dirSource(dir)})
	d, err := blob.SaveManifest(t.Context(), dirSource(dir), sampleKey, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest"), []byte(d+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dirSource keeps blobs as plain files.
type dirSource string

func (dirSource) Has(context.Context, blob.Digest) (bool, error) { return false, nil }

func (s dirSource) Put(_ context.Context, d blob.Digest, data []byte) error {
	return os.WriteFile(filepath.Join(string(s), string(d)), data, 0o644)
}

func (s dirSource) Get(_ context.Context, d blob.Digest, _ int64, _ []byte) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(s), string(d)))
}

func TestManifestsThatAreRefused(t *testing.T) {
	digest := blob.Sum(nil)
	chunk := []blob.Chunk{{Digest: digest, Len: 100}}
	file := func(e ...blob.Extent) []blob.Entry {
		return []blob.Entry{{Path: "f", Kind: blob.File, Size: 150, Extents: e}}
	}
	entry := func(path string) []blob.Entry { return []blob.Entry{{Path: path, Kind: blob.File}} }
	for _, tt := range []struct {
		name string
		m    blob.Manifest
		want string
	}{
		{"no version", blob.Manifest{V: 0}, "version 0"},
		{"newer version", blob.Manifest{V: blob.ManifestVersion + 1}, "version 2"},
		{"digest", blob.Manifest{V: 1, Chunks: []blob.Chunk{{Digest: "../x", Len: 1}}}, "not a SHA-256"},
		{"chunk size", blob.Manifest{V: 1, Chunks: []blob.Chunk{{Digest: digest, Len: 1 << 40}}}, "bytes"},
		{"parent escape", blob.Manifest{V: 1, Entries: entry("../x")}, "not a clean"},
		{"absolute", blob.Manifest{V: 1, Entries: entry("/etc/passwd")}, "not a clean"},
		{"root itself", blob.Manifest{V: 1, Entries: entry(".")}, "not a clean"},
		{"unclean", blob.Manifest{V: 1, Entries: entry("a//b")}, "not a clean"},
		{"empty", blob.Manifest{V: 1, Entries: entry("")}, "not a clean"},
		{"nul", blob.Manifest{V: 1, Entries: entry("a\x00b")}, "not a clean"},
		{"no parent", blob.Manifest{V: 1, Entries: entry("a/b")}, "parent"},
		{"parent is a file", blob.Manifest{V: 1, Entries: append(entry("a"), entry("a/b")...)}, "parent"},
		{"parent is a link", blob.Manifest{V: 1, Entries: append(
			[]blob.Entry{{Path: "a", Kind: blob.Symlink, Target: "/etc"}}, entry("a/b")...)}, "parent"},
		{"twice", blob.Manifest{V: 1, Entries: append(entry("a"), entry("a")...)}, "out of order"},
		{"setuid", blob.Manifest{V: 1, Entries: []blob.Entry{{Path: "a", Kind: blob.File, Mode: 0o4755}}}, "permission bits"},
		{"setuid as Go has it", blob.Manifest{V: 1, Entries: []blob.Entry{{Path: "a", Kind: blob.File, Mode: fs.ModeSetuid | 0o755}}}, "permission bits"},
		{"device", blob.Manifest{V: 1, Entries: []blob.Entry{{Path: "a", Kind: "b"}}}, "not known"},
		{"link to nothing", blob.Manifest{V: 1, Entries: []blob.Entry{{Path: "a", Kind: blob.Symlink}}}, "target"},
		{"directory with content", blob.Manifest{V: 1, Entries: []blob.Entry{{Path: "a", Kind: blob.Dir, Size: 1}}}, "only a file"},
		{"negative size", blob.Manifest{V: 1, Entries: []blob.Entry{{Path: "a", Kind: blob.File, Size: -1}}}, "size"},
		{"extent beyond the file", blob.Manifest{V: 1, Chunks: chunk, Entries: file(blob.Extent{Off: 100, Len: 51})}, "of a file"},
		{"extent beyond the chunk", blob.Manifest{V: 1, Chunks: chunk, Entries: file(blob.Extent{At: 60, Len: 50})}, "of a chunk"},
		{"extents overlap", blob.Manifest{V: 1, Chunks: chunk, Entries: file(blob.Extent{Len: 50}, blob.Extent{Off: 49, Len: 50})}, "after 50"},
		{"unknown chunk", blob.Manifest{V: 1, Chunks: chunk, Entries: file(blob.Extent{Len: 1, Chunk: 1})}, "chunk 1 of 1"},
		{"overflow", blob.Manifest{V: 1, Chunks: chunk, Entries: file(blob.Extent{Off: 1<<63 - 2, Len: 5})}, "of a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := json.Marshal(tt.m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := blob.DecodeManifest(data); !errors.Is(err, blob.ErrManifest) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("DecodeManifest = %v, want %q", err, tt.want)
			}
			out := t.TempDir()
			err = blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: tt.m, Source: anySource{}, Dir: out, MaxBytes: 1 << 20, OutsideLinks: true})
			if !errors.Is(err, blob.ErrManifest) || listTree(t, out) != "" {
				t.Errorf("Unpack = %v", err)
			}
		})
	}
}

// anySource answers every address with content that cannot be right.
type anySource struct{}

func (anySource) Get(context.Context, blob.Digest, int64, []byte) ([]byte, error) {
	return []byte("?"), nil
}

// A manifest whose lists are too long is refused before they are made.
func TestLongListsTakeNoMemory(t *testing.T) {
	for name, text := range map[string]string{
		"entries":           `{"v":1,"entries":[` + strings.Repeat("{},", 3<<20) + `{}]}`,
		"chunks":            `{"v":1,"chunks":[` + strings.Repeat("null,", 3<<20) + `{}]}`,
		"extents":           `{"v":1,"entries":[{"p":"a]\\\"[","x":[` + strings.Repeat(`{"n":1},`, 6<<20) + `{}]}]}`,
		"extents in pieces": `{"v":1,"entries":[` + strings.Repeat(`{"x":[{},{},{},{},{},{}]},`, 1<<20) + `{}]}`,
		"lists in lists":    `{"v":1,"y":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		data := []byte(text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := blob.DecodeManifest(data)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, blob.ErrManifest) || !errors.Is(err, blob.ErrTooLarge) {
			t.Errorf("%s: got %v, want %v", name, err, blob.ErrTooLarge)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes of memory were taken", name, n)
		}
	}
}

// FuzzManifest feeds manifests to the decoder and what passes to Unpack: neither may write outside,
// and what passes is written as it was read.
func FuzzManifest(f *testing.F) {
	for _, s := range []string{
		`{"v":1}`,
		`{"v":1,"entries":[{"p":"a","k":"d","m":493},{"p":"a/b","k":"f","s":9}]}`,
		`{"v":1,"entries":[{"p":"a","k":"l","l":"../../x"},{"p":"b","k":"p"}]}`,
		`{"v":1,"entries":[{"p":"../a","k":"f"}]}`,
		`{"v":1,"entries":[{"p":"f","k":"f","s":5,"x":[{"o":1,"n":2}]}],"chunks":[{"d":"` + string(blob.Sum(nil)) + `","n":4}]}`,
	} {
		f.Add([]byte(s))
	}
	top := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := blob.DecodeManifest(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("a manifest that was decoded is not encoded: %v", err)
		}
		m2, err := blob.DecodeManifest(again)
		if err != nil {
			t.Fatalf("a manifest that was encoded is not decoded: %v", err)
		}
		if third, _ := m2.Encode(); !bytes.Equal(again, third) {
			t.Fatalf("encoded as %s, then as %s", again, third)
		}
		if len(m.Entries) > 100 {
			return // slow, not more telling
		}
		for i := range m.Entries {
			m.Entries[i].Mode |= 0o700 // so that we can look and clean up
		}
		jail, err := os.MkdirTemp(top, "jail")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(jail)
		out := filepath.Join(jail, "out")
		err = blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: anySource{}, Dir: out, MaxBytes: 1 << 20, OutsideLinks: true})
		names, rerr := os.ReadDir(jail)
		if rerr != nil || len(names) > 1 || len(names) == 1 && names[0].Name() != "out" {
			t.Fatalf("wrote outside: %v, %v", names, rerr)
		}
		if err != nil && len(names) != 0 {
			t.Fatalf("after %v something is left", err)
		}
		if err == nil {
			if got := strings.Count(listTree(t, out), "\n"); got != len(m.Entries) {
				t.Fatalf("unpacked %d of %d entries", got, len(m.Entries))
			}
		}
	})
}

// FuzzSealed feeds bytes under their right address: nothing that we did not seal is opened.
func FuzzSealed(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add(bytes.Repeat([]byte{1}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := blob.LoadManifest(t.Context(), fixedSource(data), sampleKey, blob.Sum(data)); err == nil {
			t.Errorf("opened %+v", m)
		}
	})
}

type fixedSource []byte

func (s fixedSource) Get(context.Context, blob.Digest, int64, []byte) ([]byte, error) { return s, nil }

func TestKeyDoesNotPrint(t *testing.T) {
	k := blob.Key{0xab, 0xcd}
	for _, f := range []string{"%v", "%s", "%+v", "%#v"} {
		if got := fmt.Sprintf(f, k); strings.Contains(got, "ab") || strings.Contains(got, "171") {
			t.Errorf("%s prints %s", f, got)
		}
	}
	text, _ := k.MarshalText()
	var back blob.Key
	if err := back.UnmarshalText(text); err != nil || back != k {
		t.Errorf("a key came back as %x, %v", [32]byte(back), err)
	}
	for _, bad := range []string{"", "ab", strings.Repeat("g", 64), strings.Repeat("a", 65)} {
		if back.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}
