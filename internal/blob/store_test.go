package blob_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skua/internal/blob"
)

func openStore(t testing.TB, dir string) *blob.Store {
	t.Helper()
	s, err := blob.OpenStore(blob.StoreConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseDigest(t *testing.T) {
	good := string(blob.Sum(nil))
	if _, err := blob.ParseDigest(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(good), "../" + good[3:], good[:63] + "g", good[:63] + "\n"} {
		if d, err := blob.ParseDigest(bad); err == nil {
			t.Errorf("ParseDigest(%q) = %v", bad, d)
		}
	}
}

func TestStorePutOpenRemove(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	data := []byte("content")
	d := blob.Sum(data)
	if n, err := s.Put(d, bytes.NewReader(data)); n != 7 || err != nil {
		t.Fatalf("Put = %d, %v", n, err)
	}
	s = openStore(t, dir) // it is on disk
	f, err := s.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(f)
	f.Close()
	if string(got) != "content" {
		t.Errorf("read %q", got)
	}
	if n, err := s.Size(d); n != 7 || err != nil {
		t.Errorf("Size = %d, %v", n, err)
	}
	if _, err := s.Read(d, 6); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("Read beyond its limit = %v", err)
	}
	count := 0
	for info, err := range s.All() {
		if err != nil || info.Digest != d || info.Size != 7 {
			t.Errorf("All yields %+v, %v", info, err)
		}
		count++
	}
	if count != 1 {
		t.Errorf("All yields %d blobs", count)
	}
	for range 2 {
		if err := s.Remove(d); err != nil {
			t.Error(err)
		}
	}
	if s.Has(d) {
		t.Error("a removed blob is there")
	}
	if _, err := s.Open(d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open of a removed blob = %v", err)
	}
}

func TestStoreRefusesWrongContent(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	d := blob.Sum([]byte("right"))
	if _, err := s.Put(d, strings.NewReader("wrong")); !errors.Is(err, blob.ErrMismatch) || s.Has(d) {
		t.Errorf("Put = %v", err)
	}
	if _, err := s.Put("../../etc/passwd", strings.NewReader("x")); err == nil {
		t.Error("Put took a path for a digest")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "partial")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}

	// What rots on the disk is noticed, and dropped.
	if _, err := s.Put(d, strings.NewReader("right")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", string(d[:2]), string(d)), []byte("rotte"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(io.Discard, d); !errors.Is(err, blob.ErrMismatch) || s.Has(d) {
		t.Errorf("Copy of a damaged blob = %v, still there %t", err, s.Has(d))
	}
}

func TestUploadGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	data := randomBytes(1, 100_000)
	d := blob.Sum(data)
	u, err := s.Upload(d, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Upload(d, "ann"); !errors.Is(err, blob.ErrBusy) {
		t.Errorf("second Upload = %v, want ErrBusy", err)
	}
	other, err := s.Upload(d, "bob") // does not disturb ann's
	if err != nil {
		t.Fatal(err)
	}
	other.Write([]byte("poison"))
	other.Close()
	u.Write(data[:40_000])
	u.Close()

	s = openStore(t, dir)
	if n, err := s.PartialSize(d, "ann"); n != 40_000 || err != nil {
		t.Errorf("PartialSize = %d, %v", n, err)
	}
	if u, err = s.Upload(d, "ann"); err != nil || u.Offset() != 40_000 {
		t.Fatalf("resumed Upload = %v", err)
	}
	u.Write(data[40_000:])
	if err := u.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(nil); err == nil {
		t.Error("a committed upload takes more")
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
	if !s.Held(d, "ann") || s.Held(d, "bob") {
		t.Error("ann should hold the blob, bob not")
	}

	if u, err = s.Upload(d, "bob"); err != nil {
		t.Fatal(err)
	}
	u.Write(data[6:])
	if err := u.Commit(); !errors.Is(err, blob.ErrMismatch) {
		t.Errorf("Commit of poison = %v", err)
	}
	u.Close()
	if n, _ := s.PartialSize(d, "bob"); n != 0 || !s.Has(d) || s.Held(d, "bob") {
		t.Errorf("after a bad upload %d bytes are kept; ann's blob is there: %t", n, s.Has(d))
	}
	for _, holder := range []string{"", "a/b", "..", "a.b", strings.Repeat("x", 65)} {
		if _, err := s.Upload(d, holder); err == nil {
			t.Errorf("Upload by holder %q", holder)
		}
	}
}

func TestCacheEvictsTheLongestUnused(t *testing.T) {
	dir := t.TempDir()
	c, err := blob.OpenCache(blob.CacheConfig{Dir: dir, MaxBytes: 3000})
	if err != nil {
		t.Fatal(err)
	}
	var d [5]blob.Digest
	put := func(i int) error {
		data := randomBytes(uint64(i), 1000)
		d[i] = blob.Sum(data)
		return c.Put(d[i], 1000, bytes.NewReader(data))
	}
	for i := range 3 {
		if err := put(i); err != nil {
			t.Fatal(err)
		}
	}
	c.Has(d[0])              // a use
	unpin, ok := c.Pin(d[1]) // in use, and since then the longest unused but for 2
	if !ok {
		t.Fatal("Pin finds nothing")
	}
	c.Has(d[0])
	if err := put(3); err != nil { // evicts 2
		t.Fatal(err)
	}
	if err := put(4); err != nil { // 1 is next but pinned: evicts 0
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, false, true, true} {
		if got := c.Has(d[i]); got != want {
			t.Errorf("blob %d is here: %t, want %t", i, got, want)
		}
	}
	if c.Bytes() != 3000 {
		t.Errorf("%d bytes", c.Bytes())
	}
	if err := c.Put(blob.Sum(nil), 3001, strings.NewReader("")); !errors.Is(err, blob.ErrNoRoom) {
		t.Errorf("Put beyond the bound = %v", err)
	}
	if err := c.Put(blob.Sum(nil), 2500, strings.NewReader("")); !errors.Is(err, blob.ErrNoRoom) {
		t.Errorf("Put beside a pinned blob = %v", err)
	}
	unpin()
	unpin()

	// The order of use survives a restart, damage does not.
	old := time.Now().Add(-time.Hour)
	if err := c.Put(d[1], 1000, bytes.NewReader(randomBytes(1, 1000))); err != nil {
		t.Fatal(err)
	}
	path := func(d blob.Digest) string { return filepath.Join(dir, "data", string(d[:2]), string(d)) }
	if err := os.Chtimes(path(d[1]), old, old); err != nil {
		t.Fatal(err)
	}
	if c, err = blob.OpenCache(blob.CacheConfig{Dir: dir, MaxBytes: 2000}); err != nil {
		t.Fatal(err)
	}
	for _, got := range c.Digests(10) {
		if got == d[1] {
			t.Error("the longest unused survived a smaller bound")
		}
	}
	for _, d := range c.Digests(1) {
		if err := os.WriteFile(path(d), []byte("rot"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(d, 5000); !errors.Is(err, blob.ErrMismatch) || c.Has(d) {
			t.Errorf("Read of a damaged blob = %v, still here %t", err, c.Has(d))
		}
		if _, err := c.Copy(io.Discard, d); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Copy of a miss = %v", err)
		}
	}
	if err := c.Put(d[0], 1000, bytes.NewReader(randomBytes(9, 1000))); !errors.Is(err, blob.ErrMismatch) {
		t.Errorf("Put of other content = %v", err)
	}
	if want := int64(len(c.Digests(10)) * 1000); c.Bytes() != want {
		t.Errorf("%d bytes, want %d", c.Bytes(), want)
	}
}
