package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skua/internal/bus"
	"skua/internal/job"
)

// account writes down what a snapshot must keep beyond [dump].
func account(t testing.TB, s *state) string {
	t.Helper()
	accounts, err := json.Marshal([]any{s.accounts.users, s.goodput})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s%s %v %v %v %v %d %d", dump(t, s), accounts, s.accounts.runs, s.chain, s.past, s.named, len(s.owned), len(s.late))
}

// TestSnapshotIsTheState runs random lives and writes each state down and reads it.
func TestSnapshotIsTheState(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 11))
		q, stop := start(t, Config{Log: bus.NewMemoryLog(), MaxHistory: 3})
		for range 120 / stepsPerLook {
			for range stepsPerLook {
				life(t, q, r, seed%2 == 0)
			}
			var text bytes.Buffer
			if err := q.state.capture().write(&text); err != nil {
				t.Fatal(err)
			}
			again := q.emptyState()
			if err := readSnapshot(&text, again); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if got, want := account(t, again), account(t, q.state); got != want {
				got, want = firstDifference(got, want)
				t.Fatalf("seed %d: read back it is\n%s\nwant\n%s", seed, got, want)
			}
		}
		stop()
	}
}

// TestRestartsFromSnapshots restarts a queue again and again, with snapshots in between, and compares it with
// one that reads the whole story.
func TestRestartsFromSnapshots(t *testing.T) {
	for seed := range uint64(5) {
		dir := t.TempDir()
		log := bus.NewMemoryLog()
		r := rand.New(rand.NewPCG(seed, 13))
		for range 12 {
			archive, err := OpenArchive(ArchiveConfig{Dir: filepath.Join(dir, "archive"), MaxFile: 4 << 10})
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{Log: log, Archive: archive, Snapshots: filepath.Join(dir, "snapshots"), MaxHistory: 3, Mend: true}
			q, stop := start(t, cfg)
			for range 10 + r.IntN(20) {
				life(t, q, r, seed%2 == 0)
			}
			stop()
			if err := q.takeSnapshot(); err != nil {
				t.Fatal(err)
			}
			q.archiveAll(t)
			if err := q.forget(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			whole := q.emptyState()
			if err := archive.Read(t.Context(), 1, func(seq uint64, record []byte) error {
				var ev job.Event
				if err := ev.UnmarshalJSON(record); err != nil {
					return err
				}
				ev.Seq = seq
				whole.chain = chainAfter(record)
				return whole.apply(ev)
			}); err != nil {
				t.Fatal(err)
			}
			got, want := dump(t, q.state), dump(t, whole)
			if got != want {
				got, want = firstDifference(got, want)
				t.Fatalf("seed %d: with snapshots the state is\n%s\nwant\n%s", seed, got, want)
			}
			if err := archive.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if first, _ := log.First(t.Context()); first == 1 {
			t.Errorf("seed %d: the log has forgotten nothing", seed)
		}
	}
}

// archiveAll brings the archive to the end of the log.
func (q *Queue) archiveAll(t testing.TB) {
	t.Helper()
	if err := q.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// stored is what a queue with snapshots has left on disk and in its log.
type stored struct {
	log  *bus.MemoryLog
	dir  string
	last string // dump of the last state
	seq  uint64
}

func (s *stored) config(t testing.TB) Config {
	t.Helper()
	archive, err := OpenArchive(ArchiveConfig{Dir: filepath.Join(s.dir, "archive"), MaxFile: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { archive.Close() })
	return Config{Log: s.log, Archive: archive, Snapshots: filepath.Join(s.dir, "snapshots"), Mend: true}
}

func (s *stored) snapshots(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(s.dir, "snapshots", "*"+snapshotSuffix))
	if err != nil || len(all) != keepSnapshots {
		t.Fatalf("there are %d snapshots, want %d (%v)", len(all), keepSnapshots, err)
	}
	slices.Sort(all)
	return all
}

// store runs a queue that takes three snapshots.
func store(t testing.TB) *stored {
	t.Helper()
	s := &stored{log: bus.NewMemoryLog(), dir: t.TempDir()}
	r := rand.New(rand.NewPCG(1, 17))
	for range 3 {
		q, err := Open(t.Context(), s.config(t))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- q.Run(t.Context()) }()
		for range 15 {
			life(t, q, r, false)
		}
		if err := q.takeSnapshot(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			life(t, q, r, false)
		}
		q.archiveAll(t)
		if err := q.forget(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		s.last, s.seq = dump(t, q.state), q.state.seq
		// The next leader's first event ends this one.
		if _, err := Open(t.Context(), Config{Log: s.log, Archive: q.cfg.Archive, Snapshots: q.cfg.Snapshots}); err != nil {
			t.Fatal(err)
		}
		q.Commit(t.Context(), &job.Delivered{})
		q.Submit(t.Context(), described(t, "ann", "", 1))
		<-done
		q.archiveAll(t)
	}
	return s
}

func TestWhatIsLostOfSnapshots(t *testing.T) {
	damage := func(t *testing.T, path string) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		lose func(t *testing.T, s *stored)
		want string // error
	}{
		{"nothing", func(*testing.T, *stored) {}, ""},
		{"the newest is damaged", func(t *testing.T, s *stored) { damage(t, s.snapshots(t)[1]) }, ""},
		{"the newest is cut off", func(t *testing.T, s *stored) {
			if err := os.Truncate(s.snapshots(t)[1], 100); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"both are damaged", func(t *testing.T, s *stored) {
			for _, path := range s.snapshots(t) {
				damage(t, path)
			}
		}, ""},
		{"the log is lost", func(t *testing.T, s *stored) { s.log = bus.NewMemoryLog() }, ""},
		{"the log and all snapshots are lost", func(t *testing.T, s *stored) {
			s.log = bus.NewMemoryLog()
			os.RemoveAll(filepath.Join(s.dir, "snapshots"))
		}, ""},
		{"the archive is lost", func(t *testing.T, s *stored) { os.RemoveAll(filepath.Join(s.dir, "archive")) }, ""},
		{"the archive and all snapshots are lost", func(t *testing.T, s *stored) {
			os.RemoveAll(filepath.Join(s.dir, "archive"))
			os.RemoveAll(filepath.Join(s.dir, "snapshots"))
		}, "queue log: the events 1 to 20 are missing"},
		{"log and archive are lost", func(t *testing.T, s *stored) {
			s.log = bus.NewMemoryLog()
			os.RemoveAll(filepath.Join(s.dir, "archive"))
		}, "the queue log has been cut short"},
		{"the archive is damaged in what is needed", func(t *testing.T, s *stored) {
			s.log = bus.NewMemoryLog()
			files, _ := filepath.Glob(filepath.Join(s.dir, "archive", "*"+archiveSuffix))
			damage(t, files[0])
		}, "its checksum is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := store(t)
			tt.lose(t, s)
			q, err := Watch(t.Context(), s.config(t))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want something with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// One event, that of the last leader, has come after the last dump.
			_, got, _ := strings.Cut(dump(t, q.state), "\n")
			_, want, _ := strings.Cut(s.last, "\n")
			if got != want {
				got, want = firstDifference(got, want)
				t.Errorf("the state is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Servers that have just chosen another leader tell an end of the log that was: nothing is lost for that.
func TestEndThatWas(t *testing.T) {
	s := store(t)
	cfg := s.config(t)
	cfg.Log = &late{MemoryLog: s.log, stale: 3}
	q, err := Watch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if last, _ := s.log.Last(t.Context()); q.state.seq != last {
		t.Errorf("the queue has come to event %d of %d", q.state.seq, last)
	}
}

// late is a log that tells an earlier end at first.
type late struct {
	*bus.MemoryLog
	stale int // how often still
}

func (l *late) Last(ctx context.Context) (uint64, error) {
	last, err := l.MemoryLog.Last(ctx)
	if l.stale > 0 {
		l.stale--
		return last / 2, err
	}
	return last, err
}

func TestForgottenEventsAreInTheArchive(t *testing.T) {
	s := store(t)
	q, err := Open(t.Context(), s.config(t))
	if err != nil {
		t.Fatal(err)
	}
	if first, _ := s.log.First(t.Context()); first == 1 {
		t.Fatal("the log has forgotten nothing")
	}
	var seqs []uint64
	for after := uint64(0); ; {
		page, err := q.Events(t.Context(), "", after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			seqs = append(seqs, ev.Seq)
		}
		if after = page.Next; !page.More {
			break
		}
	}
	for i, seq := range seqs {
		if seq != uint64(i)+1 {
			t.Fatalf("event %d comes where %d is due", seq, i+1)
		}
	}
	if last, _ := q.Last(); uint64(len(seqs)) != last {
		t.Errorf("there are %d events, want %d", len(seqs), last)
	}
}

// Whose a cluster was is known as long as there are events about it.
func TestUsersAreForgottenWithTheEvents(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Log: bus.NewMemoryLog(), Archive: openArchive(t, filepath.Join(dir, "archive"), 4<<10), Snapshots: filepath.Join(dir, "snapshots"), MaxHistory: 2}
	cfg.Archive.cfg.MaxBytes = 16 << 10
	q, stop := start(t, cfg)
	stays := submit(t, q, "ann", 1)
	const clusters = 300
	for n := range clusters {
		commit(t, q, &job.Withdrawn{Job: job.ID{Cluster: submit(t, q, "bob", 1)}})
		if n%50 == 49 {
			q.archiveAll(t)
			for _, do := range []func() error{q.takeSnapshot, func() error { return q.forget(t.Context(), true) }} {
				if err := do(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stop()
	first, _ := cfg.Archive.Span()
	if n := len(q.state.users); n > clusters/2 || q.state.users[stays] != "ann" || len(q.state.past) != n-3 {
		t.Errorf("the users of %d clusters are known, of which %d are past, and the events from %d on", n, len(q.state.past), first)
	}
	page, err := q.Events(t.Context(), "bob", first, 2*clusters)
	if last, _ := q.Last(); err != nil || uint64(len(page.Events)) != last-first {
		t.Errorf("%d events are the user's (%v), want %d", len(page.Events), err, last-first)
	}
}

// Events that the log forgets while they are read are in the archive too.
func TestEventsForgottenMeanwhile(t *testing.T) {
	log := bus.NewMemoryLog()
	archive := openArchive(t, t.TempDir(), 1000)
	q, stop := start(t, Config{Log: log, Archive: archive})
	for range 9 {
		submit(t, q, "ann", 1)
	}
	stop()
	q.archiveAll(t)
	q.cfg.Log = &purged{MemoryLog: log, at: 4, before: 8}
	var seqs []uint64
	if err := q.read(t.Context(), 2, func(seq uint64, _ []byte) error {
		seqs = append(seqs, seq)
		return nil
	}); err != nil {
		t.Error(err)
	}
	if want := []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(seqs, want) {
		t.Errorf("read %v, want %v", seqs, want)
	}
	if first, _ := log.First(t.Context()); first != 8 {
		t.Errorf("the log begins with event %d, want 8", first)
	}
}

// purged is a log that is purged after an event has been read, and then reads on.
type purged struct {
	*bus.MemoryLog
	at, before uint64
}

func (l *purged) Read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error {
	purge := errors.New("purge")
	err := l.MemoryLog.Read(ctx, from, func(seq uint64, data []byte) error {
		if err := f(seq, data); err != nil {
			return err
		}
		if from = seq + 1; seq == l.at {
			return purge
		}
		return nil
	})
	if err != purge {
		return err
	}
	if err := l.Purge(ctx, l.before); err != nil {
		return err
	}
	return l.MemoryLog.Read(ctx, from, f)
}

func FuzzSnapshot(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 19))
	q, err := Open(f.Context(), Config{Log: bus.NewMemoryLog(), MaxHistory: 3})
	if err != nil {
		f.Fatal(err)
	}
	go q.Run(f.Context())
	for range 60 {
		life(f, q, r, r.IntN(2) == 0)
		var text bytes.Buffer
		if err := q.state.capture().write(&text); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Add([]byte(firstSnapshot))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := q.emptyState()
		if readSnapshot(bytes.NewReader(text), s) != nil {
			return
		}
		dump(t, s) // finds parts that do not agree
	})
}
