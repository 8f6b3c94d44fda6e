package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"skua/internal/bus"
	"skua/internal/trust"
)

var crashLog = bus.LogConfig{Stream: "SKUA_EV", Subject: "skua.ev"}

// The test binary run with this variable is a matchmaker that writes to its log until it is killed.
const crashDir = "SKUA_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writeUntilKilled appends batches of 1 to 20 records, each "batch number/size", and prints each
// acknowledged sequence. Every third may be there in part.
func writeUntilKilled(dir string) error {
	ctx := context.Background()
	roster, err := trust.OpenRoster(filepath.Join(dir, "roster.json"))
	if err != nil {
		return err
	}
	b, err := Start(ctx, Config{Dir: filepath.Join(dir, "bus"), Roster: roster})
	if err != nil {
		return err
	}
	l, err := bus.OpenLog(ctx, b.Conn(), crashLog)
	if err != nil {
		return err
	}
	last, err := l.Last(ctx)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		size := n%20 + 1
		records := make([][]byte, size)
		for i := range records {
			records[i] = []byte(fmt.Sprintf("%d/%d", n, size))
		}
		add := l.Append
		if inPart(n) {
			add = l.AppendInOrder
		}
		if last, err = add(ctx, last, records); err != nil {
			return err
		}
		if _, err := fmt.Println(last); err != nil {
			return err
		}
	}
}

func inPart(batch int) bool { return batch%3 == 0 }

// What was acknowledged is there after a kill, in order, and a batch is there whole or not at all, unless it was
// appended as one of which the first records may stand alone.
func TestLogSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	acked := runUntilKilled(t, dir, 50)

	roster, err := trust.OpenRoster(filepath.Join(dir, "roster.json"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Start(t.Context(), Config{Dir: filepath.Join(dir, "bus"), Roster: roster})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l, err := bus.OpenLog(t.Context(), b.Conn(), crashLog)
	if err != nil {
		t.Fatal(err)
	}
	var batch, size, left int
	var end uint64
	err = l.Read(t.Context(), 1, func(seq uint64, data []byte) error {
		n, s, ok := strings.Cut(string(data), "/")
		if !ok {
			return fmt.Errorf("record %d is %q", seq, data)
		}
		if left == 0 {
			batch++
			size, err = strconv.Atoi(s)
			if err != nil {
				return err
			}
			left = size
		}
		if n != strconv.Itoa(batch) || s != strconv.Itoa(size) {
			return fmt.Errorf("record %d is %q, want %d/%d", seq, data, batch, size)
		}
		left--
		end = seq
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if left != 0 && !inPart(batch) {
		t.Errorf("batch %d of %d records lacks %d", batch, size, left)
	}
	if end < acked {
		t.Errorf("the log ends at %d, but %d was acknowledged", end, acked)
	}
	if _, err := l.Append(t.Context(), end-1, [][]byte{[]byte("stale")}); !errors.Is(err, bus.ErrWrongSequence) {
		t.Errorf("a stale writer: got %v, want %v", err, bus.ErrWrongSequence)
	}
	if got, err := l.Append(t.Context(), end, [][]byte{[]byte("next")}); err != nil || got != end+1 {
		t.Errorf("append after the kill: got %d, %v, want %d", got, err, end+1)
	}
}

// runUntilKilled lets the writer acknowledge n batches, kills it and returns the last sequence that it
// acknowledged.
func runUntilKilled(t *testing.T, dir string, n int) uint64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var acked uint64
	for i := 0; lines.Scan(); i++ {
		if i == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
		if acked, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
			t.Error(err)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // says that it was killed
	if acked < uint64(n) {
		t.Fatalf("the writer came to %d\n%s", acked, &stderr)
	}
	return acked
}
