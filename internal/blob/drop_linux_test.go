package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inMemory is how many bytes of the files below a directory the system has in memory.
func inMemory(t testing.TB, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil || fi.Size() == 0 {
			return err
		}
		b, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Munmap(b) }()
		pages := make([]byte, (len(b)+pageSize-1)/pageSize)
		if err := mincore(b, pages); err != nil {
			return err
		}
		for _, p := range pages {
			sum += int64(p&1) * pageSize
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// onDisk skips the test where files are in memory only.
func onDisk(t testing.TB, dir string) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil || s.Type == unix.TMPFS_MAGIC || os.Getpagesize() != pageSize {
		t.Skipf("the files in %s are not on a disk (%v)", dir, err)
	}
}

type nowhere struct{}

func (nowhere) Has(context.Context, Digest) (bool, error) { return false, nil }
func (nowhere) Put(context.Context, Digest, []byte) error { return nil }

func TestPackDropsBehind(t *testing.T) {
	dir := t.TempDir()
	onDisk(t, dir)
	const size = 8 << 20
	data := make([]byte, size)
	_, _ = rand.Read(data)
	path := filepath.Join(dir, "pages.img")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syncFile(path); err != nil {
		t.Fatal(err)
	}
	cfg := PackConfig{Dir: dir, Sink: nowhere{}}
	for _, tt := range []struct {
		after time.Duration
		want  int64
	}{{0, size}, {time.Hour, size}, {1, 0}} {
		cfg.DropAfter = tt.after
		if _, err := Pack(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if got := inMemory(t, dir); got != tt.want {
			t.Errorf("with DropAfter %v %d bytes of %d are in memory, want %d", tt.after, got, size, tt.want)
		}
	}
}

func TestCacheIsNotKeptInMemory(t *testing.T) {
	dir := t.TempDir()
	onDisk(t, dir)
	c, err := OpenCache(CacheConfig{Dir: dir, MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	const size, more = 256 << 10, 8
	data := make([]byte, size)
	var ds []Digest
	for range maxFresh + more {
		_, _ = rand.Read(data[:16])
		ds = append(ds, Sum(data))
		if err := c.Put(ds[len(ds)-1], size, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if got := inMemory(t, dir); got > maxFresh*size {
		t.Errorf("%d bytes of the cache are in memory, want %d at most", got, maxFresh*size)
	}
	for _, d := range ds {
		if _, err := c.Read(d, size); err != nil {
			t.Fatal(err)
		}
	}
	if got := inMemory(t, dir); got != 0 {
		t.Errorf("%d bytes of the cache are in memory after it has been read", got)
	}
}

func mincore(b, pages []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		return os.NewSyscallError("mincore", errno)
	}
	return nil
}
