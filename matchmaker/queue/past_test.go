package queue

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"skua/internal/bus"
	"skua/internal/job"
	"skua/matchmaker/history"
)

// TestHistoryHasEachJobOnce runs random lives through restarts, some of which lose what had not been put on disk, or
// a snapshot, and compares the history with what the log says.
func TestHistoryHasEachJobOnce(t *testing.T) {
	for seed := range uint64(5) {
		dir := t.TempDir()
		log := bus.NewMemoryLog()
		r := rand.New(rand.NewPCG(seed, 19))
		for round := range 8 {
			past, err := history.Open(history.Config{Dir: filepath.Join(dir, "history"), MaxFile: 20 << 10})
			if err != nil {
				t.Fatal(err)
			}
			archive, err := OpenArchive(ArchiveConfig{Dir: filepath.Join(dir, "archive")})
			if err != nil {
				t.Fatal(err)
			}
			q, stop := start(t, Config{Log: log, Archive: archive, History: past, Snapshots: filepath.Join(dir, "snapshots"), MaxHistory: 3, Mend: true})
			for range 60 {
				life(t, q, r, false)
			}
			if round%2 == 0 {
				if err := q.takeSnapshot(); err != nil {
					t.Fatal(err)
				}
			}
			synced := newest(t, filepath.Join(dir, "history", "*"))
			for range 30 {
				life(t, q, r, false)
			}
			stop()
			if err := past.Close(); err != nil {
				t.Fatal(err)
			}
			if err := archive.Close(); err != nil {
				t.Fatal(err)
			}
			if round%3 == 0 && synced.name == newest(t, filepath.Join(dir, "history", "*")).name { // the power fails
				if err := os.Truncate(synced.name, synced.size+7); err != nil {
					t.Fatal(err)
				}
			}
		}
		past, err := history.Open(history.Config{Dir: filepath.Join(dir, "history")})
		if err != nil {
			t.Fatal(err)
		}
		q, stop := start(t, Config{Log: log, History: past, Snapshots: filepath.Join(dir, "snapshots"), MaxHistory: 3})
		stop()
		var got []string
		if _, err := past.Walk(t.Context(), history.Query{}, func(e *history.Entry) bool {
			ad, err := e.Ad()
			if err != nil {
				t.Fatal(err)
			}
			status, _ := ad.Int("JobStatus")
			got = append(got, fmt.Sprint(e.Seq, e.ID, e.User, job.State(status)))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		want := done(t, log)
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: the history has %d jobs:\n%v\nand the log says %d:\n%v", seed, len(got), got, len(want), want)
		}
		if len(q.state.done) > 0 {
			t.Errorf("seed %d: %d jobs are still to be recorded", seed, len(q.state.done))
		}
	}
}

// done gives the jobs that are done with by what the log says, the last first.
func done(t *testing.T, log *bus.MemoryLog) []string {
	t.Helper()
	q, err := Watch(t.Context(), Config{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s := q.emptyState()
	s.keepDone = true
	if err := log.Read(t.Context(), 1, func(seq uint64, data []byte) error {
		var ev job.Event
		if err := ev.UnmarshalJSON(data); err != nil {
			return err
		}
		ev.Seq = seq
		return s.apply(ev)
	}); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range slices.Backward(s.done) {
		all = append(all, fmt.Sprint(d.seq, d.job.ID, d.job.User, d.job.State))
	}
	return all
}

type sized struct {
	name string
	size int64
}

// newest gives the last file of those that a pattern names.
func newest(t *testing.T, pattern string) sized {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		return sized{}
	}
	info, err := os.Stat(all[len(all)-1])
	if err != nil {
		t.Fatal(err)
	}
	return sized{all[len(all)-1], info.Size()}
}
