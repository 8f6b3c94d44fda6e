package startd

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// A scratch directory is measured when it may have become too large, and not much more often than once in a
// while otherwise.
func TestDiskWatch(t *testing.T) {
	const gb = int64(1e9)
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	measured := diskWatch{limit: 10 * gb, floor: gb, walked: noon, took: 100 * time.Millisecond, had: 2 * gb, then: 50 * gb}
	for _, tt := range []struct {
		name string
		at   time.Duration
		free int64
		want bool
	}{
		{"nothing has changed", 30 * time.Second, 50 * gb, false},
		{"the minute is over", time.Minute, 50 * gb, true},
		{"less is gone than half of what it may still get", 30 * time.Second, 47 * gb, false},
		{"more is gone", 30 * time.Second, 45 * gb, true},
		{"more is gone, just after it was measured", 500 * time.Millisecond, 45 * gb, false},
		{"somebody has cleared up", 30 * time.Second, 90 * gb, false},
	} {
		w := measured
		w.see(at(tt.at), tt.free)
		if got := w.due(at(tt.at), time.Minute); got != tt.want {
			t.Errorf("%s: it is measured: %v, want %v", tt.name, got, tt.want)
		}
	}
	slow := measured
	slow.took = 10 * time.Second
	slow.see(at(5*time.Minute), 50*gb)
	if slow.due(at(5*time.Minute), time.Minute) || !slow.due(at(20*time.Minute), time.Minute) {
		t.Error("what takes 10 s to measure is not measured every 1000 s")
	}
	var first diskWatch
	if !first.due(noon, time.Minute) {
		t.Error("it is not measured in the beginning")
	}
	unlimited := measured
	unlimited.limit = 0
	unlimited.see(at(30*time.Second), 0)
	if unlimited.due(at(30*time.Second), time.Minute) || !unlimited.low() {
		t.Error("without a limit it is measured, or the disk is not full")
	}
}

// The faster a disk fills, the sooner it is looked at again.
func TestNextLookAtDisk(t *testing.T) {
	const gb = int64(1e9)
	for _, tt := range []struct {
		name         string
		before, free int64
		want         time.Duration
	}{
		{"nothing goes", 50 * gb, 50 * gb, time.Second},
		{"it grows", 50 * gb, 60 * gb, time.Second},
		{"a little goes", 50 * gb, 50*gb - 1e6, time.Second},
		{"a gigabyte a second with one to go", 3 * gb, 2 * gb, 500 * time.Millisecond},
		{"next to nothing to go", 3 * gb, gb + 1e6, 20 * time.Millisecond},
		{"below the floor", 3 * gb, gb / 2, time.Second},
	} {
		w := diskWatch{floor: gb}
		w.see(noon, tt.before)
		w.see(noon.Add(time.Second), tt.free)
		if got := w.nextLook(time.Second); got != tt.want {
			t.Errorf("%s: next look after %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := diskFloor(10 << 30); got != 10<<30/50 {
		t.Errorf("of 10 GiB %d bytes are kept free", got)
	}
	if got := diskFloor(1 << 40); got != 1<<30 {
		t.Errorf("of 1 TiB %d bytes are kept free", got)
	}
}

// A job that makes empty files takes as much of a disk that has no inodes left as one that fills it.
func TestWhoFillsADisk(t *testing.T) {
	for _, tt := range []struct {
		bytes int64
		files int
		want  bool
	}{
		{64 << 20, 16384, false},
		{64<<20 + 1, 1, true},
		{0, 16385, true},
	} {
		if got := fills(tt.bytes, tt.files); got != tt.want {
			t.Errorf("%d bytes in %d files: %v, want %v", tt.bytes, tt.files, got, tt.want)
		}
	}
	dir := t.TempDir()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, files := treeSize(dir); files != 11 { // with the directory itself
		t.Errorf("there are %d files", files)
	}
}
