package eventlog

import (
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFullDiskAndOthers: of an event for which there is not enough room nothing stays, and of what others have appended
// all does.
func TestFullDiskAndOthers(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	if err := w.Append(1, history[1]...); err != nil {
		t.Fatal(err)
	}
	other, err := OpenWriter(filepath.Join(dir, "job.log"), filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Append(2, history[2]...); err != nil {
		t.Fatal(err)
	}
	want := history[1][0].String() + history[2][0].String()
	limitFiles(t, uint64(len(want)+10), func() { err = w.Append(7, history[7]...) })
	if err == nil {
		t.Fatal("it is written whole")
	}
	if got := content(t, dir); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := w.Append(7, history[7]...); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, dir), want+history[7][0].String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, w := range []*Writer{w, other} {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// limitFiles calls f while files can have at most so many bytes.
func limitFiles(t *testing.T, most uint64, f func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limit := before
	limit.Cur = most
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}
