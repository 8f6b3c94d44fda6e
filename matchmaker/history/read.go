package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"skua/internal/diag"
	"skua/internal/job"
)

// Query says which entries [Store.Walk] shows. Zero values ask for all.
type Query struct {
	Before   uint64     // only entries with lower sequences
	User     job.UserID // whose
	Clusters []int      // of these clusters; with Jobs, or of these
	Jobs     []job.ID
}

// maxScan is how many bytes one Walk looks at.
const maxScan = 256 << 20

// Walk calls f with entries, the newest first, until it is false. It looks at a bounded part of the history at a
// time: next is what to give as Before to go on, 0 when everything has been looked at or f was false. A line that is
// damaged is passed over.
func (s *Store) Walk(ctx context.Context, q Query, f func(*Entry) bool) (next uint64, err error) {
	if q.Before == 0 {
		q.Before = math.MaxUint64
	}
	wanted := q.wanted()
	s.mu.Lock()
	files := slices.Clone(s.files)
	s.mu.Unlock()
	scanned := int64(0)
	for _, file := range slices.Backward(files) {
		if file.first >= q.Before || !wanted.in(file) {
			continue
		}
		if scanned >= maxScan {
			return q.Before, nil
		}
		damaged, more := 0, true
		err := s.readBack(file, func(line []byte) bool {
			e, err := parse(line)
			switch {
			case err != nil:
				if _, ok := parseClosing(line); !ok {
					damaged++
				}
				return ctx.Err() == nil
			case e.Seq >= q.Before:
				return true
			}
			q.Before = e.Seq
			if wanted.has(e) {
				e.text = bytes.Clone(e.text)
				more = f(e) && !wanted.found(e)
			}
			return more && ctx.Err() == nil
		})
		if damaged > 0 {
			s.log.Warn("history has damaged lines", diag.KeyFile, s.path(file.first), "lines", damaged)
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return 0, fmt.Errorf("read history: %w", err)
		}
		if !more {
			return 0, nil
		}
		scanned += file.bytes
		q.Before = min(q.Before, file.first)
	}
	return 0, nil
}

// readBack calls f with the lines of a file, the last one first.
func (s *Store) readBack(file file, f func(line []byte) bool) error {
	in, err := os.Open(s.path(file.first))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has been removed since, for its age
	}
	if err != nil {
		return err
	}
	err = backwards(in, file.bytes, func(line []byte, _ int64) bool { return f(line) })
	return errors.Join(err, in.Close())
}

// wanted is what a query asks for, prepared.
type wanted struct {
	user            job.UserID
	all             bool
	clusters        map[int]bool
	jobs            map[job.ID]bool
	lowest, highest int
}

func (q *Query) wanted() wanted {
	w := wanted{user: q.User, all: len(q.Clusters)+len(q.Jobs) == 0, clusters: map[int]bool{}, jobs: map[job.ID]bool{}}
	var s span
	for _, c := range q.Clusters {
		w.clusters[c] = true
		s.add(c)
	}
	for _, id := range q.Jobs {
		w.jobs[id] = true
		s.add(id.Cluster)
	}
	w.lowest, w.highest = s.lowest, s.highest
	return w
}

// in says whether a file may have what is wanted.
func (w *wanted) in(f file) bool {
	return w.all || f.clusters.highest == 0 || f.clusters.lowest <= w.highest && w.lowest <= f.clusters.highest
}

func (w *wanted) has(e *Entry) bool {
	return (w.user == "" || w.user == e.User) && (w.all || w.clusters[e.ID.Cluster] || w.jobs[e.ID])
}

// found notes that an entry has been shown, and says whether there can be no other.
func (w *wanted) found(e *Entry) bool {
	delete(w.jobs, e.ID)
	return !w.all && len(w.clusters)+len(w.jobs) == 0
}

// backBlock is how much of a file is read at once.
const backBlock = 256 << 10

// backwards calls f with the lines of the first size bytes of a file and where each begins, the last one first, until
// it is false. Lines are without their ends, and good during the call only. What follows the last end of a line is a
// line too.
func backwards(r io.ReaderAt, size int64, f func(line []byte, at int64) bool) error {
	var rest []byte // begins at the offset at; what is before its first end of line has not been seen whole
	for at := size; at > 0; {
		n := min(at, backBlock)
		at -= n
		chunk := make([]byte, n, int(n)+len(rest))
		if _, err := r.ReadAt(chunk, at); err != nil && err != io.EOF {
			return err
		}
		chunk = append(chunk, rest...)
		for {
			end := len(chunk)
			if end > 0 && chunk[end-1] == '\n' {
				end--
			}
			i := bytes.LastIndexByte(chunk[:end], '\n')
			if i < 0 {
				break
			}
			if !f(chunk[i+1:end], at+int64(i)+1) {
				return nil
			}
			chunk = chunk[:i+1]
		}
		rest = chunk
	}
	if len(rest) > 0 {
		f(bytes.TrimSuffix(rest, []byte("\n")), 0)
	}
	return nil
}
