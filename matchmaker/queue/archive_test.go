package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/bus"
)

func openArchive(t *testing.T, dir string, maxFile int64) *Archive {
	t.Helper()
	a, err := OpenArchive(ArchiveConfig{Dir: dir, MaxFile: maxFile, MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func addTo(t *testing.T, a *Archive, first uint64, records ...string) {
	t.Helper()
	var all [][]byte
	for _, r := range records {
		all = append(all, []byte(r))
	}
	if err := a.Append(first, all); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, a *Archive, from uint64) []string {
	t.Helper()
	var all []string
	if err := a.Read(t.Context(), from, func(seq uint64, data []byte) error {
		all = append(all, fmt.Sprint(seq, " ", string(data)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	a := openArchive(t, dir, 10)
	addTo(t, a, 1, "one", "two")
	addTo(t, a, 3, "three")
	addTo(t, a, 4, "four") // in a new file
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = openArchive(t, dir, 10)
	if first, last := a.Span(); first != 1 || last != 4 {
		t.Errorf("it goes from %d to %d, want 1 to 4", first, last)
	}
	addTo(t, a, 5, "five")
	want := []string{"1 one", "2 two", "3 three", "4 four", "5 five"}
	for from := range uint64(6) {
		if got := readAll(t, a, from); !slices.Equal(got, want[max(from, 1)-1:]) {
			t.Errorf("from %d on it has %q", from, got)
		}
	}
	if err := a.Append(5, [][]byte{[]byte("again")}); err == nil {
		t.Error("a record is taken twice")
	}
	if err := a.Append(6, [][]byte{[]byte("two\nlines")}); err == nil {
		t.Error("a record of two lines is taken")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 2 {
		t.Errorf("it has the files %q, want two", files)
	}
}

func TestArchiveWithATornEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		tail string
		last uint64
	}{
		{"half a record", `{"v":1,"at`, 2},
		{"a record without its line's end", `{"v":1}`, 2},
		{"zeros", "\x00\x00\x00", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			a := openArchive(t, dir, 100)
			addTo(t, a, 1, "one", "two")
			path := a.path(1)
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(tt.tail); err != nil {
				t.Fatal(err)
			}
			f.Close()
			a = openArchive(t, dir, 100)
			addTo(t, a, 3, "three")
			if got := readAll(t, a, 1); !slices.Equal(got, []string{"1 one", "2 two", "3 three"}) {
				t.Errorf("it has %q", got)
			}
		})
	}
}

func TestArchiveWithAHole(t *testing.T) {
	a := openArchive(t, t.TempDir(), 100)
	addTo(t, a, 1, "one")
	addTo(t, a, 5, "five")
	err := a.Read(t.Context(), 1, func(uint64, []byte) error { return nil })
	if !errors.Is(err, bus.ErrGap) || !strings.Contains(err.Error(), "numbers 2 to 4") {
		t.Errorf("reading over a hole gave %v", err)
	}
	if got := readAll(t, a, 5); !slices.Equal(got, []string{"5 five"}) {
		t.Errorf("behind the hole it has %q", got)
	}
}

func TestArchiveDropsWhatIsOld(t *testing.T) {
	a := openArchive(t, t.TempDir(), 30)
	for seq := range uint64(10) {
		addTo(t, a, seq+1, strings.Repeat("x", 29))
	}
	for _, tt := range []struct{ keep, first uint64 }{{1, 1}, {4, 4}, {10, 8}} { // 100 bytes are three files
		if err := a.Drop(tt.keep); err != nil {
			t.Fatal(err)
		}
		if first, _ := a.Span(); first != tt.first {
			t.Errorf("where events from %d on are needed it begins with %d, want %d", tt.keep, first, tt.first)
		}
	}
}

// TestLogAndArchive opens queues of which the log or the archive has lost something, or neither fits the other.
func TestLogAndArchive(t *testing.T) {
	for _, tt := range []struct {
		name    string
		log     int // records that are left
		archive int
		mend    bool
		want    string // error
	}{
		{"both whole", 6, 6, true, ""},
		{"the log has lost its end", 3, 6, true, ""},
		{"the log is empty", 0, 6, true, ""},
		{"the archive has lost its end", 6, 2, true, ""},
		{"the archive is empty", 6, 0, true, ""},
		{"the log has lost its end and others write it", 3, 6, false, "the queue log ends with event 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := bus.NewMemoryLog()
			q, stop := start(t, Config{Log: log})
			for range 5 {
				submit(t, q, "ann", 1)
			}
			stop()
			var records [][]byte
			if err := log.Read(t.Context(), 1, func(_ uint64, data []byte) error {
				records = append(records, data)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			log = bus.NewMemoryLog()
			archive := openArchive(t, t.TempDir(), 1000)
			for i, r := range records {
				if i < tt.log {
					if _, err := log.Append(t.Context(), uint64(i), [][]byte{r}); err != nil {
						t.Fatal(err)
					}
				}
				if i < tt.archive {
					addTo(t, archive, uint64(i+1), string(r))
				}
			}
			again, err := Watch(t.Context(), Config{Log: log, Archive: archive, Mend: tt.mend})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want something with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := dump(t, again.state), dump(t, q.state); got != want {
				t.Errorf("the state is\n%s\nwant\n%s", got, want)
			}
			if _, last := archive.Span(); last != 6 {
				t.Errorf("the archive ends with %d, want 6", last)
			}
			if last, _ := log.Last(t.Context()); last != 6 {
				t.Errorf("the log ends with %d, want 6", last)
			}
		})
	}
}

// TestCatchUpTakesLittleMemory: large records are copied some at a time. The archive begins a file with each batch here.
func TestCatchUpTakesLittleMemory(t *testing.T) {
	log := bus.NewMemoryLog()
	record := []byte(strings.Repeat("x", 200<<10))
	const records = 50
	for i := range uint64(records) {
		if _, err := log.Append(t.Context(), i, [][]byte{record}); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := OpenArchive(ArchiveConfig{Dir: t.TempDir(), MaxFile: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	q := &Queue{cfg: Config{Log: log, Archive: archive}}
	q.archiveAll(t)
	if first, last := archive.Span(); first != 1 || last != records {
		t.Errorf("the archive goes from %d to %d, want 1 to %d", first, last, records)
	}
	for _, f := range archive.files {
		if most := int64(maxBatchBytes + maxBatch); f.bytes > most {
			t.Errorf("a batch had %d bytes, want at most %d", f.bytes, most)
		}
	}
}

func TestLogAndArchiveOfDifferentStories(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	submit(t, q, "ann", 1)
	stop()
	archive := openArchive(t, t.TempDir(), 1000)
	addTo(t, archive, 1, `{"v":1}`, `{"v":1}`)
	_, err := Watch(t.Context(), Config{Log: log, Archive: archive, Mend: true})
	if err == nil || !strings.Contains(err.Error(), "different events of number 2") {
		t.Errorf("got %v", err)
	}
}

// An archive that could not be written for a while has everything soon after it can be, though nothing new comes.
func TestArchiveThatFellBehind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "archive")
	archive := openArchive(t, dir, 1000)
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log, Archive: archive})
	defer stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	submit(t, q, "ann", 1)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want, err := log.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, last := archive.Span(); last == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the archive does not come up to event %d", want)
		}
	}
}

// An archive that cannot be written keeps no queue from being read, and is brought up to date when it can be.
func TestArchiveThatCannotBeWrittenAtTheStart(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	submit(t, q, "ann", 1)
	stop()
	dir := filepath.Join(t.TempDir(), "archive")
	archive := openArchive(t, dir, 1000)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Watch(t.Context(), Config{Log: log, Archive: archive})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := dump(t, again.state), dump(t, q.state); got != want {
		t.Errorf("the state is\n%s\nwant\n%s", got, want)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if again, err = Watch(t.Context(), Config{Log: log, Archive: archive}); err != nil {
		t.Fatal(err)
	}
	if first, last := archive.Span(); first != 1 || last != again.state.seq {
		t.Errorf("the archive goes from %d to %d, want 1 to %d", first, last, again.state.seq)
	}
}
