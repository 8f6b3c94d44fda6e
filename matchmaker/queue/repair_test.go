package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/job"
)

// damaged is a log with some records lost, and others changed.
type damaged struct {
	*bus.MemoryLog
	lost    map[uint64]bool
	changed map[uint64][]byte
}

func (d *damaged) Read(ctx context.Context, from uint64, f func(uint64, []byte) error) error {
	return d.MemoryLog.Read(ctx, from, func(seq uint64, data []byte) error {
		if d.lost[seq] {
			next := seq
			for d.lost[next] {
				next++
			}
			if last, _ := d.Last(ctx); next > last {
				next = 0
			}
			return fmt.Errorf("read: %w", &bus.GapError{From: seq, Next: next})
		}
		if data, ok := d.changed[seq]; ok {
			return f(seq, data)
		}
		return f(seq, data)
	})
}

// flip changes a record so that it can still be read as an event.
func (d *damaged) flip(t *testing.T, seq uint64) {
	t.Helper()
	err := d.MemoryLog.Read(t.Context(), seq, func(_ uint64, data []byte) error {
		d.changed[seq] = bytes.Replace(data, []byte(`"at":"20`), []byte(`"at":"19`), 1)
		return bus.ErrGap
	})
	if !errors.Is(err, bus.ErrGap) {
		t.Fatal(err)
	}
}

// edit changes the archive's file that has a record.
func (s *stored) edit(t *testing.T, seq uint64, f func(lines [][]byte, i int) [][]byte) {
	t.Helper()
	a, err := OpenArchive(ArchiveConfig{Dir: filepath.Join(s.dir, "archive"), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	first := a.fileOf(seq)
	data, err := os.ReadFile(a.path(first))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	if err := os.WriteFile(a.path(first), bytes.Join(f(lines, int(seq-first)), nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flipLine(lines [][]byte, i int) [][]byte {
	lines[i] = bytes.Replace(lines[i], []byte(`"at":"20`), []byte(`"at":"19`), 1)
	return lines
}

func TestInspectAndRepair(t *testing.T) {
	clip := func(lines [][]byte, i int) [][]byte { return lines[:i] }
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, s *stored, log *damaged, first, last uint64)
		bad    bool                            // something is damaged
		fatal  func(first, last uint64) uint64 // the first event that is lost
		what   string
	}{
		{name: "nothing", damage: func(*testing.T, *stored, *damaged, uint64, uint64) {}},
		{
			name: "a record of the log is lost", bad: true,
			damage: func(_ *testing.T, _ *stored, log *damaged, _, last uint64) { log.lost[last-2] = true },
		},
		{
			name: "all of the log's end is lost", bad: true,
			damage: func(_ *testing.T, _ *stored, log *damaged, _, last uint64) {
				for seq := last - 5; seq <= last; seq++ {
					log.lost[seq] = true
				}
			},
		},
		{
			name: "a byte of the log is another", bad: true,
			damage: func(t *testing.T, _ *stored, log *damaged, _, last uint64) { log.flip(t, last-2) },
		},
		{
			name: "the log is gone", bad: true,
			damage: func(_ *testing.T, _ *stored, log *damaged, _, last uint64) { log.MemoryLog = bus.NewMemoryLog() },
		},
		{
			name: "the log is older", bad: true,
			damage: func(t *testing.T, _ *stored, log *damaged, first, last uint64) {
				var records [][]byte
				err := log.MemoryLog.Read(t.Context(), first, func(seq uint64, data []byte) error {
					if seq < last-3 {
						records = append(records, data)
					}
					return nil
				})
				log.MemoryLog = bus.NewMemoryLog()
				if err = errors.Join(err, log.Purge(t.Context(), first)); err == nil {
					_, err = log.Append(t.Context(), first-1, records)
				}
				if err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "a byte of the archive is another", bad: true,
			damage: func(t *testing.T, s *stored, _ *damaged, _, last uint64) { s.edit(t, last-2, flipLine) },
		},
		{
			name: "a line's end in the archive is gone", bad: true,
			damage: func(t *testing.T, s *stored, _ *damaged, _, last uint64) {
				s.edit(t, last-3, func(lines [][]byte, i int) [][]byte {
					lines[i] = bytes.TrimSuffix(lines[i], []byte("\n"))
					return lines
				})
			},
		},
		{
			name: "the archive lacks its end", bad: false,
			damage: func(t *testing.T, s *stored, _ *damaged, _, last uint64) { s.edit(t, last-3, clip) },
		},
		{
			name: "an old file of the archive is damaged", bad: true,
			damage: func(t *testing.T, s *stored, _ *damaged, _, _ uint64) { s.edit(t, 3, flipLine) },
		},
		{
			name: "the newest snapshot is damaged", bad: true,
			damage: func(t *testing.T, s *stored, _ *damaged, _, _ uint64) {
				if err := os.Truncate(s.snapshots(t)[1], 100); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "both lack a record", bad: true, what: "missing",
			damage: func(t *testing.T, s *stored, log *damaged, _, last uint64) {
				log.lost[last-1] = true
				s.edit(t, last-1, clip)
			},
			fatal: func(_, last uint64) uint64 { return last - 1 },
		},
		{
			name: "both lack a record, at a snapshot", bad: true,
			damage: func(t *testing.T, s *stored, log *damaged, _, last uint64) {
				log.lost[last-2] = true
				s.edit(t, last-2, func(lines [][]byte, i int) [][]byte {
					lines[i] = []byte("?\n")
					return lines
				})
			},
		},
		{
			name: "both have changed", bad: true, what: "its checksum is",
			damage: func(t *testing.T, s *stored, log *damaged, _, last uint64) {
				log.flip(t, last-1)
				s.edit(t, last-1, flipLine)
			},
			fatal: func(_, last uint64) uint64 { return last - 1 },
		},
		{
			name: "both have changed, at a snapshot", bad: true,
			damage: func(t *testing.T, s *stored, log *damaged, _, last uint64) {
				log.flip(t, last-2)
				s.edit(t, last-2, flipLine)
			},
		},
		{
			name: "log and archive are gone", bad: true, what: "as far as the snapshot",
			damage: func(t *testing.T, s *stored, log *damaged, _, _ uint64) {
				log.MemoryLog = bus.NewMemoryLog()
				if err := os.RemoveAll(filepath.Join(s.dir, "archive")); err != nil {
					t.Fatal(err)
				}
			},
			fatal: func(uint64, uint64) uint64 { return 0 },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := store(t)
			log := &damaged{s.log, map[uint64]bool{}, map[uint64][]byte{}}
			first, _ := log.First(t.Context())
			last, _ := log.Last(t.Context())
			tt.damage(t, s, log, first, last)

			i, err := Inspect(t.Context(), s.readOnly(t, log))
			if err != nil {
				t.Fatal(err)
			}
			if i.Good() == tt.bad {
				t.Errorf("it is said to be good: %v: %+v", i.Good(), i)
			}
			if (i.Fatal != nil) != (tt.fatal != nil) {
				t.Fatalf("fatal: %v", i.Fatal)
			}
			if i.Fatal != nil {
				if want := tt.fatal(first, last); want > 0 && i.Fatal.Seq != want || !strings.Contains(i.Fatal.What, tt.what) {
					t.Errorf("fatal is %+v, want event %d and %q", i.Fatal, want, tt.what)
				}
				_, err := Watch(t.Context(), s.configOf(t, log))
				var p *diag.Problem
				if !errors.As(err, &p) || !strings.Contains(p.Hint, "log verify") || !strings.Contains(p.Hint, "log repair") {
					t.Errorf("a matchmaker starts with %v (%+v)", err, p)
				}
			}
			before := s.files(t)

			var fresh *bus.MemoryLog
			r := Repair{
				Config: s.readOnly(t, log), Aside: filepath.Join(s.dir, "aside"),
				NewLog:  func(context.Context) (Log, error) { fresh = bus.NewMemoryLog(); return fresh, nil },
				SwapLog: func() error { s.log = fresh; return nil },
			}
			done, err := r.Run(t.Context())
			if i.Fatal != nil {
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("event %d cannot be had", i.Fatal.Seq)) {
					t.Fatalf("without being told so it repairs: %v", err)
				}
				if got := s.files(t); got != before {
					t.Errorf("a refused repair has changed something:\n%s\nwas\n%s", got, before)
				}
				r.DropTail = true
				done, err = r.Run(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if !tt.bad {
				if _, err := os.Stat(r.Aside); err == nil || done.Log || done.Archive {
					t.Errorf("it has repaired: %+v", done)
				}
				return
			}
			again, err := Inspect(t.Context(), s.readOnly(t, s.log))
			if fresh == nil {
				again, err = Inspect(t.Context(), s.readOnly(t, log))
				s.log = log.MemoryLog
			}
			if err != nil || again.Fatal != nil || !again.Whole() {
				t.Fatalf("after the repair there is %+v, %v", again, err)
			}
			q, err := Open(t.Context(), s.config(t))
			if err != nil {
				t.Fatal(err)
			}
			if i.Fatal == nil {
				_, got, _ := strings.Cut(dump(t, q.state), "\n")
				_, want, _ := strings.Cut(s.last, "\n")
				if got != want {
					got, want = firstDifference(got, want)
					t.Errorf("the state is\n%s\nwant\n%s", got, want)
				}
				return
			}
			// Of the numbers that were dropped none is used again.
			if done.From != i.Fatal.Seq || done.To < i.Known || q.state.seq != done.To+1 {
				t.Errorf("%d to %d were dropped, and the next event is %d", done.From, done.To, q.state.seq)
			}
			text, err := os.ReadFile(done.Dropped)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
				if len(line) > 0 && !json.Valid(line) {
					t.Errorf("line %q", line)
				}
			}
			if done.From <= last && (len(text) == 0 || len(done.Lost.Lines()) == 0) {
				t.Error("it is not said what is lost")
			}
		})
	}
}

// configOf is config with another log.
func (s *stored) configOf(t *testing.T, log Log) Config {
	cfg := s.config(t)
	cfg.Log = log
	return cfg
}

// readOnly is configOf for looking.
func (s *stored) readOnly(t *testing.T, log Log) Config {
	t.Helper()
	archive, err := OpenArchive(ArchiveConfig{Dir: filepath.Join(s.dir, "archive"), MaxFile: 2 << 10, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { archive.Close() })
	return Config{Log: log, Archive: archive, Snapshots: filepath.Join(s.dir, "snapshots")}
}

// files lists all that is on disk, with sizes.
func (s *stored) files(t *testing.T) string {
	t.Helper()
	var list strings.Builder
	err := filepath.Walk(s.dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			fmt.Fprintln(&list, path, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

func TestLosses(t *testing.T) {
	log := bus.NewMemoryLog()
	q, stop := start(t, Config{Log: log})
	commit(t, q, &job.Factored{User: "ann", Factor: 7})
	submit(t, q, "ann", 3)
	commit(t, q, &job.HeldBack{Job: job.ID{Cluster: 1}, Reason: "x"})
	stop()
	var all Losses
	var tail Losses
	err := Records(t.Context(), Config{Log: log}, 2, 0, func(r Record) error {
		all.add(r)
		if r.Seq == 4 {
			tail.add(r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all.add(Record{Seq: 9, Bad: "it is missing"})
	if got, want := strings.Join(all.Lines(), "; "), "submits are lost, which must be repeated: cluster 1, 3 job(s) of ANN; "+
		"1 setting(s) of users' factors are lost: see skua-matchmaker users; "+
		"1 event(s) cannot be read: nobody can say what is lost with them"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := strings.Join(tail.Lines(), "; "), "these jobs are again as they were before: 1.0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
