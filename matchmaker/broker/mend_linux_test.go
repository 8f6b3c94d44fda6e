package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"skua/internal/bus"
	"skua/internal/trust"
)

// A log that could not be written, since its disk was full, takes records again once there is room, without a
// restart, and has all that it has acknowledged.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t)
	roster, err := trust.OpenRoster(filepath.Join(t.TempDir(), "roster.json"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Start(t.Context(), Config{Dir: filepath.Join(disk, "bus"), Roster: roster})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := bus.OpenLog(t.Context(), b.Conn(), crashLog)
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for range 2 { // more than once
		if last, err = l.Append(t.Context(), last, [][]byte{fmt.Appendf(nil, "record %d", last+1)}); err != nil {
			t.Fatal(err)
		}
		filler := filepath.Join(disk, "filler")
		fill(t, filler)
		if n, err := l.Append(t.Context(), last, [][]byte{make([]byte, 64<<10)}); err == nil {
			t.Fatalf("record %d was acknowledged though there is no room for it", n)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		for { // until the test's own time is over
			n, err := l.Append(t.Context(), last, [][]byte{fmt.Appendf(nil, "record %d", last+1)})
			if err == nil {
				last = n
				break
			}
			if errors.Is(err, bus.ErrWrongSequence) {
				t.Fatal(err)
			}
		}
	}
	n := uint64(0)
	err = l.Read(t.Context(), 1, func(seq uint64, data []byte) error {
		n++
		if want := fmt.Sprintf("record %d", n); seq != n || string(data) != want {
			t.Errorf("record %d is %q, want %q", seq, data, want)
		}
		return nil
	})
	if err != nil || n != last {
		t.Errorf("read %d records of %d: %v", n, last, err)
	}
}

// A store is not opened as long as its disk has no room: each opening would leave something behind in the server.
func TestFullDiskIsNotOpened(t *testing.T) {
	disk := smallDisk(t)
	roster, err := trust.OpenRoster(filepath.Join(t.TempDir(), "roster.json"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Start(t.Context(), Config{Dir: filepath.Join(disk, "bus"), Roster: roster})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	b.stopWatch() // the test looks itself
	b.watch.Wait()
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	for range 3 {
		if err := b.reopenStore(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("opening the store on a full disk: %v, want %v", err, syscall.ENOSPC)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := b.reopenStore(); err != nil || b.storeTrouble() != "" {
		t.Errorf("with room again: %v, %s", err, b.storeTrouble())
	}
	if left, err := filepath.Glob(filepath.Join(disk, "bus", "try-*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %q behind: %v", left, err)
	}
}

// smallDisk mounts one of 16 MB.
func smallDisk(t *testing.T) string {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no small disk can be made: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// A store that cannot be opened again at first is tried again, and one that opens without the log, too: a disk
// that gives errors for a little longer has both.
func TestStoreIsAway(t *testing.T) {
	t.Run("the store", func(t *testing.T) { testAway(t, storeName) })
	t.Run("the log's records", func(t *testing.T) { testAway(t, recordsOfLog) })
}

// recordsOfLog is where they are. With a file in its place nats-server cannot open the log, and deletes it.
var recordsOfLog = filepath.Join(storeName, "$G", "streams", crashLog.Stream, "msgs")

func testAway(t *testing.T, what string) {
	roster, err := trust.OpenRoster(filepath.Join(t.TempDir(), "roster.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b, err := Start(t.Context(), Config{Dir: dir, Roster: roster})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	l, err := bus.OpenLog(t.Context(), b.Conn(), crashLog)
	if err == nil {
		_, err = l.Append(t.Context(), 0, [][]byte{[]byte("record 1")})
	}
	if err != nil {
		t.Fatal(err)
	}
	store, away := filepath.Join(dir, what), filepath.Join(dir, "away")
	if err := errors.Join(os.Rename(store, away), os.WriteFile(store, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	b.stopWatch() // the test looks itself, in between
	b.watch.Wait()
	for range 2 {
		if err := b.reopenStore(); err == nil {
			t.Fatal("it was opened with a file in its place")
		}
	}
	if b.storeTrouble() == "" {
		t.Error("what is away counts as open")
	}
	putBack(t, away, store)
	watching, stop := context.WithCancel(t.Context())
	b.stopWatch = stop
	b.watch.Go(func() { b.watchStore(watching, slog.New(slog.DiscardHandler)) })
	for { // until the test's own time is over
		_, err := l.Append(t.Context(), 1, [][]byte{[]byte("record 2")})
		if err == nil {
			return
		}
		if errors.Is(err, bus.ErrWrongSequence) {
			t.Fatal(err)
		}
	}
}

// putBack gives what was moved away its place again, in which there is a file now. The server may have deleted the
// directories above it, and not be done with that.
func putBack(t *testing.T, away, path string) {
	t.Helper()
	for os.Rename(away, path) != nil { // until the test's own time is over
		if err := errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
			t.Log(err)
		}
	}
}

// A stream that the server deleted as it started is given back, whatever came in between.
func TestDeletedByServer(t *testing.T) {
	roster, err := trust.OpenRoster(filepath.Join(t.TempDir(), "roster.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	start := func() *Broker {
		t.Helper()
		b, err := Start(t.Context(), Config{Dir: dir, Roster: roster})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	end := func(b *Broker) {
		t.Helper()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	append1 := func(b *Broker, after uint64) {
		t.Helper()
		l, err := bus.OpenLog(t.Context(), b.Conn(), crashLog)
		if err == nil {
			_, err = l.Append(t.Context(), after, [][]byte{fmt.Appendf(nil, "record %d", after+1)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b := start()
	append1(b, 0)
	end(b)
	if _, err := os.Stat(b.guard.kept()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store that is open is still held on to: %v", err)
	}

	// The machine went down after the server had deleted the stream, and before it was given back.
	if err := b.guard.raise(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(filepath.Join(dir, recordsOfLog))); err != nil {
		t.Fatal(err)
	}
	b = start()
	append1(b, 1)
	end(b)

	// A stream that is damaged for good is left as it is, and the broker does not start over it.
	records, away := filepath.Join(dir, recordsOfLog), filepath.Join(dir, "away")
	if err := errors.Join(os.Rename(records, away), os.WriteFile(records, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if b, err := Start(t.Context(), Config{Dir: dir, Roster: roster}); err == nil {
			t.Fatalf("it starts without its log: %v", b.Close())
		}
	}
	putBack(t, away, records)
	b = start()
	append1(b, 2)
	end(b)
}

// fill makes a file that leaves no room on its disk.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for step, size := int64(1<<20), int64(0); step >= 4096; {
		if err := syscall.Fallocate(int(f.Fd()), 0, size, step); err != nil {
			step /= 2
			continue
		}
		size += step
	}
}
