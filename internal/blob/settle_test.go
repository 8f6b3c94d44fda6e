package blob_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"skua/internal/blob"
)

// putLater stores content that is to be durable later.
func putLater(t testing.TB, s *blob.Store, holder, content string) blob.Digest {
	t.Helper()
	return upload(t, s, holder, content, (*blob.Upload).CommitLater)
}

func upload(t testing.TB, s *blob.Store, holder, content string, commit func(*blob.Upload) error) blob.Digest {
	t.Helper()
	d := blob.Sum([]byte(content))
	u, err := s.Upload(d, holder)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := commit(u); err != nil {
		t.Fatal(err)
	}
	return d
}

// unsettled are the files of a store's blobs that are not durable.
func unsettled(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "unsettled", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func durable(s *blob.Store) (ds []blob.Digest) {
	for info := range s.All() {
		ds = append(ds, info.Digest)
	}
	return ds
}

func settle(t testing.TB, s *blob.Store, ds ...blob.Digest) {
	t.Helper()
	if missing, err := s.Settle(ds...); err != nil || len(missing) > 0 {
		t.Fatalf("Settle = %v, %v", missing, err)
	}
}

func TestSettle(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	var ds []blob.Digest
	for _, content := range []string{"one", "two", "three"} {
		ds = append(ds, putLater(t, s, "ann", content))
	}
	if got, err := s.Read(ds[1], 10); err != nil || string(got) != "two" || !s.Held(ds[1], "ann") || s.Held(ds[1], "bob") || s.Touch(ds[1]) != nil {
		t.Errorf("what is not settled reads as %q, %v", got, err)
	}
	if n, left := len(durable(s)), unsettled(t, dir); n != 0 || len(left) != 3 {
		t.Errorf("%d blobs are durable, and %v are not", n, left)
	}
	none := blob.Sum([]byte("none"))
	if missing, err := s.Settle(ds[0], none); err != nil || len(missing) != 1 || missing[0] != none || len(durable(s)) != 0 {
		t.Errorf("Settle with one that is not here = %v, %v, and %v are durable", missing, err, durable(s))
	}
	settle(t, s, ds[0], ds[1], ds[0])
	settle(t, s, ds[0])
	if n, left := len(durable(s)), unsettled(t, dir); n != 2 || len(left) != 1 {
		t.Errorf("after Settle %d blobs are durable, and %v are not", n, left)
	}
	s = openStore(t, dir)
	if got, err := s.Read(ds[0], 10); err != nil || string(got) != "one" || !s.Held(ds[0], "ann") {
		t.Errorf("what is settled reads as %q, %v", got, err)
	}
	if err := s.Remove(ds[2]); err != nil || s.Has(ds[2]) || len(unsettled(t, dir)) != 0 {
		t.Errorf("Remove of what is not settled: %v, %v is left", err, unsettled(t, dir))
	}
}

// What was not settled before the system was started again is not believed: its content may never have reached the disk.
func TestUnsettledIsForgottenWithTheSystem(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	d, kept := putLater(t, s, "ann", "content"), putLater(t, s, "ann", "kept")
	settle(t, s, kept)
	boots, err := filepath.Glob(filepath.Join(dir, "unsettled", "*"))
	if err != nil || len(boots) != 1 {
		t.Fatal(boots, err)
	}
	if err := os.Rename(boots[0], filepath.Join(dir, "unsettled", "another-boot")); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if s.Has(d) || s.Held(d, "ann") || len(unsettled(t, dir)) != 0 {
		t.Errorf("%v is left of what was not settled", unsettled(t, dir))
	}
	if missing, err := s.Settle(d, kept); err != nil || len(missing) != 1 || missing[0] != d {
		t.Errorf("Settle = %v, %v", missing, err)
	}
	settle(t, s, putLater(t, s, "ann", "content"), kept)
}

// A store that is only read makes nothing, and removes nothing.
func TestReadOnly(t *testing.T) {
	open := func(dir string) *blob.Store {
		t.Helper()
		s, err := blob.OpenStore(blob.StoreConfig{Dir: dir, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	empty := t.TempDir()
	if s := open(empty); s.Has(blob.Sum(nil)) {
		t.Error("a blob is found where there is none")
	}
	if names, err := os.ReadDir(empty); err != nil || len(names) != 0 {
		t.Errorf("reading has made %v, %v", names, err)
	}

	dir := t.TempDir()
	s := openStore(t, dir)
	kept, loose := putLater(t, s, "ann", "kept"), putLater(t, s, "ann", "open")
	settle(t, s, kept)
	old := filepath.Join(dir, "unsettled", "another-boot")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	s = open(dir)
	if got, err := s.Read(loose, 10); err == nil != (runtime.GOOS == "linux") || err == nil && string(got) != "open" {
		t.Errorf("what is not settled reads as %q, %v", got, err)
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("reading has removed something: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", string(kept[:2]), string(kept)), []byte("spoiled"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(kept, 10); !errors.Is(err, blob.ErrMismatch) || !s.Has(kept) {
		t.Errorf("Read of a damaged blob = %v, still here %t", err, s.Has(kept))
	}
}

// A blob that a disk has lost is missing, and can be put again.
func TestSettleOfWhatIsLost(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	d := putLater(t, s, "ann", "content")
	if err := os.Remove(unsettled(t, dir)[0]); err != nil {
		t.Fatal(err)
	}
	if missing, err := s.Settle(d); err != nil || len(missing) != 1 {
		t.Errorf("Settle = %v, %v", missing, err)
	}
	settle(t, s, putLater(t, s, "ann", "content"))
	if len(durable(s)) != 1 {
		t.Error("it did not come back")
	}
}

// What cannot be read is neither here nor missing.
func TestFindOnADiskThatFails(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links are for the administrator to make")
	}
	dir := t.TempDir()
	s := openStore(t, dir)
	d := upload(t, s, "ann", "content", (*blob.Upload).Commit)
	path := filepath.Join(dir, "data", string(d[:2]), string(d))
	for holder, want := range map[string]error{"ann": nil, "bob": blob.ErrNotFound, "": blob.ErrNotFound} {
		if err := s.Find(d, holder); !errors.Is(err, want) {
			t.Errorf("held by %q: %v, want %v", holder, err, want)
		}
	}
	spoil := func(path string) {
		t.Helper()
		if err := errors.Join(os.Remove(path), os.Symlink(filepath.Base(path), path)); err != nil {
			t.Fatal(err)
		}
	}
	spoil(path + ".ann")
	if err := s.Find(d, "ann"); err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("with a mark that cannot be read: %v", err)
	}
	spoil(path)
	if err := s.Find(d, "bob"); err == nil || errors.Is(err, blob.ErrNotFound) {
		t.Errorf("with content that cannot be read: %v", err)
	}
	if missing, err := s.Settle(d); err == nil || len(missing) > 0 {
		t.Errorf("Settle = %v, %v", missing, err)
	}
	if missing, err := s.Settle(blob.Sum(nil)); err != nil || len(missing) != 1 {
		t.Errorf("Settle of what was never here = %v, %v", missing, err)
	}
}

// Whoever wants a blob to be durable at once gets that, whatever others want; and it stays so.
func TestCommitBesideCommitLater(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	d := putLater(t, s, "ann", "content")
	upload(t, s, "bob", "content", (*blob.Upload).Commit)
	if len(durable(s)) != 1 || len(unsettled(t, dir)) != 0 || !s.Held(d, "ann") || !s.Held(d, "bob") {
		t.Errorf("%v is not durable after a commit", unsettled(t, dir))
	}
	putLater(t, s, "cem", "content")
	if len(durable(s)) != 1 {
		t.Error("a commit for later took a durable blob away")
	}
	settle(t, s, d)
	if got, err := s.Read(d, 10); err != nil || string(got) != "content" || len(unsettled(t, dir)) != 0 {
		t.Errorf("in the end it reads %q, %v", got, err)
	}
}

func TestSweepOfWhatIsNotSettled(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	keep, drop := putLater(t, s, "ann", "keep"), putLater(t, s, "ann", "drop")
	live := func(d blob.Digest) bool { return d == keep }
	if got, err := s.Sweep(live, time.Hour); err != nil || got.Blobs != 0 {
		t.Errorf("Sweep of what is fresh = %+v, %v", got, err)
	}
	if got, err := s.Sweep(live, -time.Hour); err != nil || got != (blob.Swept{Blobs: 1, Bytes: 4}) {
		t.Errorf("Sweep = %+v, %v", got, err)
	}
	if !s.Held(keep, "ann") || s.Has(drop) || len(unsettled(t, dir)) != 1 {
		t.Errorf("left is %v", unsettled(t, dir))
	}
	if _, err := s.Open(drop); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open of what was swept = %v", err)
	}
}
