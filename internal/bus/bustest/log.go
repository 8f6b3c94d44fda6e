package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"skua/internal/bus"
	"skua/internal/wire"
)

// RunLog tests logs. newLog makes a new log for one test and returns a function that opens it; it is
// opened more than once, as by a stale and a new leader.
func RunLog(t *testing.T, newLog func(t *testing.T) (open func() bus.Log)) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, open func() bus.Log)
	}{
		{"append and read back", testAppend},
		{"append in order", testAppendInOrder},
		{"wrong sequence", testWrongSequence},
		{"two writers", testTwoWriters},
		{"what cannot be appended", testBadRecords},
		{"large records", testLargeRecords},
		{"reading stops", testReadStops},
		{"awaiting more", testAwait},
		{"purge", testPurge},
		{"purge beyond the end", testPurgeBeyondTheEnd},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newLog(t)) })
	}
}

func testAppend(t *testing.T, open func() bus.Log) {
	l := open()
	if got := last(t, l); got != 0 {
		t.Fatalf("a new log ends at %d, want 0", got)
	}
	if got := read(t, l, 1); len(got) != 0 {
		t.Fatalf("a new log has %q", got)
	}
	var want []string
	for _, n := range []int{1, 2, 1, 12, bus.MaxBatch, 1, bus.MaxBatch, bus.MaxBatch} {
		want = appendBatch(t, l.Append, want, n)
	}
	for _, l := range []bus.Log{l, open()} {
		if got := last(t, l); got != uint64(len(want)) {
			t.Errorf("last is %d, want %d", got, len(want))
		}
		for _, from := range []int{0, 1, 2, 1000, len(want), len(want) + 1, len(want) + 5} {
			at := min(max(from, 1)-1, len(want))
			if got := read(t, l, uint64(from)); !slices.Equal(got, want[at:]) {
				t.Errorf("read from %d: got %d records, want %d", from, len(got), len(want)-at)
			}
		}
	}
}

func testAppendInOrder(t *testing.T, open func() bus.Log) {
	l := open()
	var want []string
	for _, n := range []int{1, 2, 3, 12, 13, 2, bus.MaxBatch, 4} {
		want = appendBatch(t, l.AppendInOrder, want, n)
		for _, expect := range []int{0, len(want) - 1, len(want) + 1} { // of somebody who does not know the log
			if end, err := l.AppendInOrder(t.Context(), uint64(expect), numbered(5000, 3)); !errors.Is(err, bus.ErrWrongSequence) && !errors.Is(err, bus.ErrUnknownOutcome) {
				t.Errorf("append of 3 after %d, where the log ends at %d: got %d, %v", expect, len(want), end, err)
			}
		}
	}
	if got := read(t, open(), 1); !slices.Equal(got, want) {
		t.Errorf("the log has %d records, want %d", len(got), len(want))
	}
	for _, records := range [][][]byte{nil, numbered(1, bus.MaxBatch+1), {[]byte("1"), make([]byte, wire.MaxMessage+1)}} {
		if _, err := l.AppendInOrder(t.Context(), uint64(len(want)), records); err == nil || errors.Is(err, bus.ErrUnknownOutcome) {
			t.Errorf("append of %d bad records: %v", len(records), err)
		}
	}
	if got := last(t, l); got != uint64(len(want)) {
		t.Errorf("something was written: the log ends at %d, want %d", got, len(want))
	}
}

func testWrongSequence(t *testing.T, open func() bus.Log) {
	l := open()
	appendOne(t, l, 0, "1")
	appendOne(t, l, 1, "2")
	for _, expect := range []uint64{0, 1, 3, 1 << 40} {
		for _, n := range []int{1, 3} {
			if end, err := l.Append(t.Context(), expect, numbered(100, n)); !errors.Is(err, bus.ErrWrongSequence) {
				t.Errorf("append of %d after %d: got %d, %v, want %v", n, expect, end, err, bus.ErrWrongSequence)
			}
		}
	}
	if got := read(t, l, 1); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the log has %q", got)
	}
	appendOne(t, l, 2, "3")
}

// The fence of DESIGN: once the new leader has written, the old one cannot.
func testTwoWriters(t *testing.T, open func() bus.Log) {
	old, next := open(), open()
	appendOne(t, old, 0, "old 1")
	appendOne(t, next, last(t, next), "next 2")
	for _, n := range []int{1, 2} {
		if _, err := old.Append(t.Context(), 1, numbered(2, n)); !errors.Is(err, bus.ErrWrongSequence) {
			t.Errorf("the old leader wrote %d: %v", n, err)
		}
	}
	appendOne(t, next, 2, "next 3")
	if got, want := read(t, old, 1), []string{"old 1", "next 2", "next 3"}; !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

func testBadRecords(t *testing.T, open func() bus.Log) {
	l := open()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		records [][]byte
		want    error
	}{
		{"none", t.Context(), nil, nil},
		{"too many", t.Context(), numbered(1, bus.MaxBatch+1), nil},
		{"one too large", t.Context(), [][]byte{[]byte("1"), make([]byte, wire.MaxMessage+1)}, bus.ErrTooLarge},
		{"after the end", ended, numbered(1, 1), context.Canceled},
	} {
		_, err := l.Append(tt.ctx, 0, tt.records)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || errors.Is(err, bus.ErrUnknownOutcome) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if got := last(t, l); got != 0 {
		t.Errorf("something was written: the log ends at %d", got)
	}
}

func testLargeRecords(t *testing.T, open func() bus.Log) {
	l := open()
	large := make([]byte, wire.MaxMessage)
	for i := range large {
		large[i] = byte(i % 251)
	}
	batch := slices.Repeat([][]byte{large}, 40)
	if _, err := l.Append(t.Context(), 0, [][]byte{large}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), 1, batch); err != nil {
		t.Fatal(err)
	}
	got := read(t, l, 1)
	if len(got) != 41 {
		t.Fatalf("got %d records, want 41", len(got))
	}
	for i, r := range got {
		if r != string(large) {
			t.Errorf("record %d came back changed", i+1)
		}
	}
}

func testReadStops(t *testing.T, open func() bus.Log) {
	l := open()
	if _, err := l.Append(t.Context(), 0, numbered(1, 10)); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	var seqs []uint64
	err := l.Read(t.Context(), 3, func(seq uint64, data []byte) error {
		clear(data) // it is ours
		if seqs = append(seqs, seq); seq == 5 {
			return enough
		}
		return nil
	})
	if err != enough || !slices.Equal(seqs, []uint64{3, 4, 5}) { //nolint:errorlint // as it is
		t.Errorf("got %v, %v, want 3 to 5 and %v", seqs, err, enough)
	}
	ended, cancel := context.WithCancel(t.Context())
	err = l.Read(ended, 1, func(seq uint64, data []byte) error {
		if want := fmt.Sprint(seq); string(data) != want {
			t.Errorf("record %d is %q", seq, data)
		}
		cancel()
		return nil
	})
	// Records that were on their way may still come, the end of ctx may not be overlooked for ever.
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := l.Read(ended, 1, func(uint64, []byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: got %v, want %v", err, context.Canceled)
	}
}

func testAwait(t *testing.T, open func() bus.Log) {
	writer, reader := open(), open()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := reader.Await(ended, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: got %d, %v, want %v", n, err, context.Canceled)
	}
	type found struct {
		last uint64
		err  error
	}
	done := make(chan found)
	go func() {
		var f found
		for f.last < 3 && f.err == nil {
			f.last, f.err = reader.Await(t.Context(), f.last)
		}
		done <- f
	}()
	appendOne(t, writer, 0, "1")
	if _, err := writer.Append(t.Context(), 1, numbered(2, 2)); err != nil {
		t.Fatal(err)
	}
	if f := <-done; f.err != nil || f.last != 3 {
		t.Errorf("got %d, %v, want 3", f.last, f.err)
	}
	if n, err := reader.Await(t.Context(), 1); err != nil || n != 3 {
		t.Errorf("what is there already: got %d, %v, want 3", n, err)
	}
}

func testPurge(t *testing.T, open func() bus.Log) {
	l := open()
	if _, err := l.Append(t.Context(), 0, numbered(1, 10)); err != nil {
		t.Fatal(err)
	}
	for _, before := range []uint64{0, 1, 4} {
		if err := l.Purge(t.Context(), before); err != nil {
			t.Fatal(err)
		}
	}
	if got := last(t, l); got != 10 {
		t.Errorf("last is %d, want 10", got)
	}
	if got := read(t, l, 4); len(got) != 7 || got[0] != "4" {
		t.Errorf("from 4 on there is %q", got)
	}
	for _, from := range []uint64{0, 1, 3} {
		err := l.Read(t.Context(), from, func(uint64, []byte) error { return nil })
		if !errors.Is(err, bus.ErrGap) {
			t.Errorf("from %d: got %v, want %v", from, err, bus.ErrGap)
		}
	}
	if err := l.Purge(t.Context(), 11); err != nil {
		t.Fatal(err)
	}
	if got := last(t, l); got != 10 {
		t.Errorf("last of an emptied log is %d, want 10", got)
	}
	if err := l.Read(t.Context(), 1, func(uint64, []byte) error { return nil }); !errors.Is(err, bus.ErrGap) {
		t.Errorf("an emptied log from 1: got %v, want %v", err, bus.ErrGap)
	}
	appendOne(t, l, 10, "11")
	if got := read(t, open(), 11); !slices.Equal(got, []string{"11"}) {
		t.Errorf("from 11 on there is %q", got)
	}
	if got := first(t, l); got != 11 {
		t.Errorf("first is %d, want 11", got)
	}
}

func testPurgeBeyondTheEnd(t *testing.T, open func() bus.Log) {
	l := open()
	if got := first(t, l); got != 1 {
		t.Errorf("first of a new log is %d, want 1", got)
	}
	for _, before := range []uint64{5, 30} { // of a new log, and of one that has a record
		if err := l.Purge(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if f, n := first(t, l), last(t, l); f != before || n != before-1 {
			t.Errorf("after a purge before %d the log goes from %d to %d", before, f, n)
		}
		appendOne(t, l, before-1, "x")
		if got := read(t, open(), before); !slices.Equal(got, []string{"x"}) {
			t.Errorf("from %d on there is %q", before, got)
		}
	}
}

// numbered gives n records that say their own sequence.
func numbered(first, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = []byte(fmt.Sprint(first + i))
	}
	return out
}

// appendBatch appends n records to a log that has those, and gives what it has then.
func appendBatch(t *testing.T, add func(context.Context, uint64, [][]byte) (uint64, error), has []string, n int) []string {
	t.Helper()
	batch, expect := numbered(len(has)+1, n), uint64(len(has))
	for _, r := range batch {
		has = append(has, string(r))
	}
	if end, err := add(t.Context(), expect, batch); err != nil || end != uint64(len(has)) {
		t.Fatalf("append of %d after %d ended at %d, %v; want %d", n, expect, end, err, len(has))
	}
	return has
}

func appendOne(t *testing.T, l bus.Log, expect uint64, data string) {
	t.Helper()
	if got, err := l.Append(t.Context(), expect, [][]byte{[]byte(data)}); err != nil || got != expect+1 {
		t.Fatalf("append after %d: got %d, %v", expect, got, err)
	}
}

func first(t *testing.T, l bus.Log) uint64 {
	t.Helper()
	n, err := l.First(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func last(t *testing.T, l bus.Log) uint64 {
	t.Helper()
	n, err := l.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func read(t *testing.T, l bus.Log, from uint64) []string {
	t.Helper()
	var got []string
	want := max(from, 1)
	err := l.Read(t.Context(), from, func(seq uint64, data []byte) error {
		if seq != want {
			t.Errorf("read from %d: sequence %d comes where %d is due", from, seq, want)
		}
		want++
		got = append(got, string(data))
		return nil
	})
	if err != nil {
		t.Fatalf("read from %d: %v", from, err)
	}
	return got
}
