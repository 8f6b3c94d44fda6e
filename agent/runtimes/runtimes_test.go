package runtimes

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/internal/blob"
)

// entry is one of an archive.
type entry struct {
	name string
	kind byte // of tar; a plain file by default
	text string
	link string
	mode int64
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Size: int64(len(e.text)), Linkname: e.link, Mode: e.mode}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bringing gives a fetch that brings an archive, and how often it has.
func bringing(text []byte) (fetch func(*os.Root, string) error, times *int) {
	times = new(int)
	return func(dir *os.Root, name string) error {
		*times++
		return dir.WriteFile(name, text, 0o600)
	}, times
}

func open(t *testing.T, dir string, most int64) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir, MaxBytes: most})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get unpacks an archive and gives its directory, with what is in it.
func get(t *testing.T, s *Store, text []byte) (dir string, release func(), err error) {
	t.Helper()
	fetch, _ := bringing(text)
	return s.Get(t.Context(), blob.Sum(text), int64(len(text)), fetch)
}

func TestUnpack(t *testing.T) {
	text := archive(
		t,
		entry{name: "./usr/bin/tool", text: "#!", mode: 0o4755},
		entry{name: "usr/lib/libx.so.1", text: "x", mode: 0o600},
		entry{name: "lib", kind: tar.TypeSymlink, link: "usr/lib"},
		entry{name: "lib/libx.so", kind: tar.TypeSymlink, link: "libx.so.1"},
		entry{name: "usr/lib/liby.so", kind: tar.TypeLink, link: "usr/lib/libx.so.1"},
		entry{name: "usr/share/", kind: tar.TypeDir, mode: 0o700},
		entry{name: "etc/twice", text: "first"},
		entry{name: "etc/twice", text: "second"},
		entry{name: "etc/out", kind: tar.TypeSymlink, link: "/etc/shadow"},
		entry{name: "dev/sda", kind: tar.TypeBlock},
		entry{name: "usr/pipe", kind: tar.TypeFifo},
		entry{name: "home/ann/x", text: "no"},
	)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(text)
	z.Close()
	forms := map[string][]byte{"plain": text, "gzip": zipped.Bytes()}
	if path, err := exec.LookPath("zstd"); err == nil {
		c := exec.Command(path, "-q", "-19", "--long=27")
		c.Stdin = bytes.NewReader(text)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		forms["zstd"] = out
	}
	for form, text := range forms {
		dir, release, err := get(t, open(t, t.TempDir(), 0), text)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		defer release()
		var all []string
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			name, _ := filepath.Rel(dir, path)
			all = append(all, fi.Mode().String()+" "+filepath.ToSlash(name))
			return err
		})
		want := []string{
			"drwxr-xr-x .", "drwxr-xr-x etc", "Lrwxrwxrwx etc/out", "-rw-r--r-- etc/twice", "Lrwxrwxrwx lib", "drwxr-xr-x usr",
			"drwxr-xr-x usr/bin", "-rwxr-xr-x usr/bin/tool", "drwxr-xr-x usr/lib", "Lrwxrwxrwx usr/lib/libx.so", "-rw-r--r-- usr/lib/libx.so.1",
			"-rw-r--r-- usr/lib/liby.so", "drwxr-xr-x usr/share",
		}
		if err != nil || !slices.Equal(all, want) {
			t.Errorf("%s: there are\n%s\n(%v), want\n%s", form, strings.Join(all, "\n"), err, strings.Join(want, "\n"))
		}
		if b, err := os.ReadFile(filepath.Join(dir, "etc/twice")); string(b) != "second" {
			t.Errorf("%s: of two the file has %q (%v)", form, b, err)
		}
	}
}

// What leads out of the directory, or is no archive, is refused for good, and leaves nothing behind.
func TestBadArchives(t *testing.T) {
	outside := t.TempDir()
	for name, text := range map[string][]byte{
		"nothing":                    nil,
		"no archive":                 []byte(strings.Repeat("no archive ", 100)),
		"empty":                      archive(t),
		"nothing that counts":        archive(t, entry{name: "home/x", text: "x"}),
		"below a link out":           archive(t, entry{name: "usr", kind: tar.TypeSymlink, link: outside}, entry{name: "usr/x", text: "x"}),
		"below a link up":            archive(t, entry{name: "usr", kind: tar.TypeSymlink, link: "../.."}, entry{name: "usr/x", text: "x"}),
		"a hard link out":            archive(t, entry{name: "usr/x", kind: tar.TypeLink, link: "../../../../../../etc/hostname"}),
		"a hard link through a link": archive(t, entry{name: "usr/e", kind: tar.TypeSymlink, link: "/etc"}, entry{name: "usr/x", kind: tar.TypeLink, link: "usr/e/hostname"}),
		"a file for a directory":     archive(t, entry{name: "usr/x/y", text: "x"}, entry{name: "usr/x", text: "x"}),
		"a directory for a file":     archive(t, entry{name: "usr/x", text: "x"}, entry{name: "usr/x/y", text: "x"}),
		"cut":                        archive(t, entry{name: "usr/x", text: strings.Repeat("x", 5000)})[:3000],
		"broken gzip":                {0x1f, 0x8b, 8, 0, 0, 0},
		"broken zstd":                {0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff},
	} {
		dir := t.TempDir()
		if _, _, err := get(t, open(t, dir, 0), text); !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v", name, err)
		}
		for _, d := range []string{dir, outside} {
			if left, err := os.ReadDir(d); err != nil || len(left) > 0 {
				t.Errorf("%s: in %s %v is left (%v)", name, d, left, err)
			}
		}
	}
	// The way up ends at the root.
	path, _, err := get(t, open(t, t.TempDir(), 0), archive(t, entry{name: "../../usr/x", text: "x"}, entry{name: "/usr/../../etc/y", text: "y"}))
	for _, name := range []string{"usr/x", "etc/y"} {
		if _, serr := os.Stat(filepath.Join(path, name)); err != nil || serr != nil {
			t.Errorf("%s: %v (%v)", name, serr, err)
		}
	}
}

// A root is unpacked once, is still there for the next agent, and goes when others need the room, the oldest first, unless
// it is in use.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	of := func(name string) []byte {
		return archive(t, entry{name: "usr/" + name, text: strings.Repeat("x", 10_000)})
	}
	const most = 25_000 // for two
	s := open(t, dir, most)
	there := func(want ...string) {
		t.Helper()
		for _, name := range []string{"a", "b", "c", "d"} {
			_, err := os.Stat(filepath.Join(dir, string(blob.Sum(of(name))), treeName, "usr", name))
			if (err == nil) != slices.Contains(want, name) {
				t.Errorf("%s is there: %v; want %v", name, err == nil, want)
			}
		}
	}
	use := func(name string) (release func(), fetched int, err error) {
		t.Helper()
		fetch, times := bringing(of(name))
		_, release, err = s.Get(t.Context(), blob.Sum(of(name)), 1, fetch)
		return release, *times, err
	}
	a, fetched, err := use("a")
	if err != nil || fetched != 1 {
		t.Fatal(fetched, err)
	}
	if again, fetched, err := use("a"); err != nil || fetched != 0 {
		t.Errorf("a second job fetches it %d times (%v)", fetched, err)
	} else {
		again()
		again() // which counts once
	}
	b, _, err := use("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := use("c"); !errors.Is(err, ErrNoRoom) {
		t.Errorf("while both are used a third: %v", err)
	}
	there("a", "b")
	b()
	c, _, err := use("c")
	if err != nil {
		t.Fatal(err)
	}
	there("a", "c")
	a()
	c()

	if err := os.Mkdir(filepath.Join(dir, tempName+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, most) // another agent
	release := s.Hold(blob.Sum(of("a")))
	there("a", "c")
	if _, err := os.Stat(filepath.Join(dir, tempName+"1")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what was not finished is still there")
	}
	if _, fetched, err := use("d"); err != nil || fetched != 1 {
		t.Error(fetched, err)
	}
	there("a", "d") // a is held, though it is older
	release()

	ctx, stop := context.WithCancel(t.Context())
	stop()
	fetch, _ := bringing(of("c"))
	if _, _, err := s.Get(ctx, blob.Sum(of("c")), 1, fetch); !errors.Is(err, context.Canceled) {
		t.Errorf("after its time: %v", err)
	}
	failing := errors.New("no network")
	if _, _, err := s.Get(t.Context(), blob.Sum(of("c")), 1, func(*os.Root, string) error { return failing }); !errors.Is(err, failing) {
		t.Errorf("when it cannot be fetched: %v", err)
	}
}

// What there is no room for is neither fetched nor unpacked, whatever its submitter says of its size.
func TestNoRoom(t *testing.T) {
	text := archive(t, entry{name: "usr/x", text: strings.Repeat("x", 10_000)}, entry{name: "usr/y", text: strings.Repeat("y", 10_000)})
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	z.Write(text)
	z.Close()
	for _, tt := range []struct {
		name    string
		free    int64
		text    []byte
		size    int64
		fetched int
	}{
		{"an archive that is larger than all that is kept", 1e12, text, 30_000, 0},
		{"one with a size beyond all bounds", 1e12, text, math.MaxInt64, 0},
		{"one that the disk has no room for", 20_000, text, int64(len(text)), 0},
		{"one that unpacks to more than the disk has room for", 9_000, small.Bytes(), int64(small.Len()), 1},
		{"a disk that is full already", -5, small.Bytes(), int64(small.Len()), 0},
	} {
		dir := t.TempDir()
		s, err := Open(Config{Dir: dir, MaxBytes: 25_000, Free: func() int64 { return tt.free }})
		if err != nil {
			t.Fatal(err)
		}
		fetch, times := bringing(tt.text)
		if _, _, err := s.Get(t.Context(), blob.Sum(tt.text), tt.size, fetch); !errors.Is(err, ErrNoRoom) || *times != tt.fetched {
			t.Errorf("%s: %v, and it was fetched %d times", tt.name, err, *times)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left (%v)", tt.name, left, err)
		}
	}
}

// Where the disk is short, roots that nobody uses make way.
func TestRootsMakeWayOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	old, next := archive(t, entry{name: "usr/old", text: "old"}), archive(t, entry{name: "usr/next", text: "next"})
	used := func(text []byte) string { return filepath.Join(dir, string(blob.Sum(text)), treeName) }
	s, err := Open(Config{Dir: dir, Free: func() int64 {
		if _, err := os.Stat(used(old)); err == nil {
			return 100
		}
		return 1e6
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := get(t, s, old)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t, s, next); !errors.Is(err, ErrNoRoom) {
		t.Errorf("while the old one is used: %v", err)
	}
	release()
	if _, _, err := get(t, s, next); err != nil {
		t.Errorf("once it is not: %v", err)
	}
}

// Whatever an archive holds stays in its directory, as plain files, directories and links.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, entry{name: "usr/x", text: "x"}, entry{name: "usr/y", kind: tar.TypeSymlink, link: "../.."}, entry{name: "usr/y/z", text: "z"}))
	f.Add(archive(f, entry{name: "lib", kind: tar.TypeLink, link: "/etc"}, entry{name: "usr/y/", kind: tar.TypeDir}))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(filepath.Join(dir, "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		const most = 1 << 20
		sum, err := unpack(t.Context(), bytes.NewReader(text), root, func(n int64) error {
			if n > most {
				return ErrNoRoom
			}
			return nil
		})
		if err == nil && sum > most {
			t.Errorf("%d bytes are unpacked", sum)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("beside it there is %v (%v)", left, err)
		}
		err = filepath.WalkDir(filepath.Join(dir, "in"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.Type().IsRegular() && !d.IsDir() && d.Type() != fs.ModeSymlink {
				t.Errorf("%s is %v", path, d.Type())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
