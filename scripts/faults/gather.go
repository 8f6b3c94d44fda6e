//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/eventlog"
	"skua/internal/job"
)

const lookEvery = 250 * time.Millisecond // while the pool finishes

// finish waits until all jobs have ended and their outputs are there, and gathers the records. What does not come to
// its end is for the judge.
func (u *user) finish(ctx context.Context) (records, error) {
	defer u.log.Close()
	r := records{
		accepted: maps.Clone(u.accepted), steps: stepsPerJob, wakes: u.p.wakes,
		queue: map[string]row{}, outputs: map[string]outputs{}, logs: map[string]userLog{},
	}
	err := await(ctx, lookEvery, "all jobs have ended", func() (bool, error) {
		rows, err := u.rows(ctx, "q")
		for id, row := range rows {
			if row[0].holdCode == job.HoldByUser { // its release may have got lost
				u.act(ctx, nil, "release", id)
			}
		}
		return err == nil && len(rows) == 0, err
	})
	if err != nil && ctx.Err() != nil {
		return r, err
	}
	from := time.Now()
	left, err := u.rows(ctx, "q")
	if err != nil {
		return r, err
	}
	for id, rows := range left {
		r.queue[id] = rows[0]
	}
	if r.history, err = u.rows(ctx, "history"); err != nil {
		return r, err
	}
	for id := range r.accepted {
		op := operation{verb: "q", job: id, from: from, to: time.Now(), outcome: yes}
		if row, waits := r.queue[id]; waits {
			op.status = row.status
		} else if rows := r.history[id]; len(rows) > 0 {
			op.status = rows[0].status
		}
		u.note(op)
	}
	r.operations = u.done
	r.adopt()
	err = await(ctx, lookEvery, "the logs tell of the end of every job", func() (bool, error) {
		_, _, err := u.skua(ctx, nil, "q") // starts a courier that was killed
		return err == nil && u.gather(&r), errors.Join(err, r.archiveError)
	})
	if err != nil && ctx.Err() != nil {
		return r, err
	}
	r.journal, err = readJournal(filepath.Join(u.p.journal, "steps"))
	return r, err
}

// gather reads outputs and logs, and says whether every job that has ended has its own.
func (u *user) gather(r *records) (whole bool) {
	r.events, r.archiveError = readArchive(u.p.disk.files("queue/archive", "*.log"))
	delivered := map[string]bool{}
	for _, ev := range r.events {
		if b, ok := ev.Body.(*job.Delivered); ok {
			delivered[b.Job.String()] = true
		}
	}
	whole = r.archiveError == nil
	for id, name := range r.accepted {
		stdout, _ := os.ReadFile(filepath.Join(u.p.dir, "out", name)) // what is missing is for the judge
		result, _ := os.ReadFile(filepath.Join(u.p.dir, "out", name+".result"))
		r.outputs[name] = outputs{string(stdout), string(result)}
		r.logs[name] = readLog(filepath.Join(u.p.dir, "log", name))
		if len(r.history[id]) == 0 {
			continue
		}
		end := eventlog.Terminated
		if r.history[id][0].status == statusRemoved {
			end = eventlog.Aborted
		}
		if !r.logs[name].tellsOf(end) || end == eventlog.Terminated && !delivered[id] {
			whole = false
		}
	}
	return whole
}

// readLog reads a user's log with the reader that we give to others.
func readLog(path string) userLog {
	var l userLog
	r, err := eventlog.OpenReader(path)
	if err != nil {
		return userLog{broken: err.Error()}
	}
	defer r.Close()
	for {
		ev, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.broken = err.Error()
			continue
		}
		l.events = append(l.events, ev)
	}
	if info, err := os.Stat(path); err == nil && info.Size() != r.Offset() && l.broken == "" {
		l.broken = fmt.Sprintf("%d bytes at its end are no event", info.Size()-r.Offset())
	}
	return l
}

// readArchive reads the archive of the queue log, files of a record a line, named by the first one's number.
func readArchive(paths []string) ([]job.Event, error) {
	slices.Sort(paths)
	var all []job.Event
	for _, path := range paths {
		first, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".log"), 10, 64)
		if err != nil {
			continue // put aside
		}
		if want := uint64(len(all)) + 1; first != want {
			return nil, fmt.Errorf("%s: the archive has %d events before it", path, want-1)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				return nil, fmt.Errorf("%s: half a record at its end", path)
			}
			var ev job.Event
			if err := ev.UnmarshalJSON(line); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			ev.Seq = uint64(len(all)) + 1
			all = append(all, ev)
		}
	}
	return all, nil
}

// readJournal reads what the jobs wrote down.
func readJournal(path string) ([]entry, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []entry
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: the line %q is torn", path, line)
		}
		step, err := strconv.Atoi(f[2])
		ns, err2 := strconv.ParseInt(f[3], 10, 64)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, entry{name: f[0], nonce: f[1], step: step, at: time.Unix(0, ns)})
	}
	return all, nil
}
