package blob_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"skua/internal/blob"
)

func TestPipesAreKeptAndSocketsLeftOut(t *testing.T) {
	tree, sink, key := t.TempDir(), newSink(t), blob.NewKey()
	if err := unix.Mkfifo(filepath.Join(tree, "pipe"), 0o640); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(tree, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
	out := t.TempDir()
	if err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: out}); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(out)
	if err != nil || len(names) != 1 || names[0].Name() != "pipe" || names[0].Type() != fs.ModeNamedPipe {
		t.Errorf("unpacked %v, %v; want the pipe alone", names, err)
	}
}

func TestDevicesAreRefused(t *testing.T) {
	tree := t.TempDir()
	if err := unix.Mknod(filepath.Join(tree, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("cannot make a device: %v", err)
	}
	if _, err := blob.Pack(t.Context(), blob.PackConfig{Dir: tree, Key: blob.NewKey(), Sink: newSink(t)}); err == nil {
		t.Error("a device was packed")
	}
}

// TestUnpackedZerosTakeNoDisk looks at what the file system gave, not at what was asked for.
func TestUnpackedZerosTakeNoDisk(t *testing.T) {
	tree, sink, key := t.TempDir(), newSink(t), blob.NewKey()
	data := make([]byte, 8<<20)
	copy(data[3<<20+4096:], "one page")
	write(t, tree, "f", data, 0o644)
	m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink})
	out := t.TempDir()
	if err := blob.Unpack(t.Context(), blob.UnpackConfig{Manifest: m, Source: sink, Key: key, Dir: out, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(out, "f"), &st); err != nil || st.Size != int64(len(data)) {
		t.Fatalf("unpacked %d bytes, %v", st.Size, err)
	}
	if used := st.Blocks * 512; used > 64<<10 {
		t.Errorf("8 MB of zeros but for one page take %d bytes", used)
	}
}

func TestOwnerOfWhatIsUnpacked(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	tree, sink, key := makeTree(t), newSink(t), blob.NewKey()
	if err := os.Symlink("/etc/passwd", filepath.Join(tree, "outside")); err != nil {
		t.Fatal(err)
	}
	var before, after unix.Stat_t
	if err := unix.Stat("/etc/passwd", &before); err != nil {
		t.Fatal(err)
	}
	m := pack(t, blob.PackConfig{Dir: tree, Key: key, Sink: sink, OutsideLinks: true})
	out := t.TempDir()
	err := blob.Unpack(t.Context(), blob.UnpackConfig{
		Manifest: m, Source: sink, Key: key, Dir: out, MaxBytes: 1 << 30,
		OutsideLinks: true, Owner: &blob.Owner{UID: 54321, GID: 54322},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Entries {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(out, e.Path), &st); err != nil || st.Uid != 54321 || st.Gid != 54322 {
			t.Errorf("%s belongs to %d:%d, %v", e.Path, st.Uid, st.Gid, err)
		}
	}
	if err := unix.Stat("/etc/passwd", &after); err != nil || after != before {
		t.Errorf("a link was followed: %+v became %+v", before, after)
	}
}
