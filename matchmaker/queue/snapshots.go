package queue

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/durable"
)

// snapshots is a directory of snapshots, each a file named by the sequence of the last event in it. Its last line
// is the SHA-256 of the others.
type snapshots struct{ dir string }

const (
	snapshotSuffix = ".snapshot"
	keepSnapshots  = 2 // the newest may be damaged
)

// list gives the sequences of the snapshots that are there, the newest first.
func (s snapshots) list() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	var all []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), snapshotSuffix)
		if seq, err := strconv.ParseUint(digits, 10, 64); ok && err == nil {
			all = append(all, seq)
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all, nil
}

func (s snapshots) path(seq uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d%s", seq, snapshotSuffix))
}

// put writes a snapshot. It is there whole, and on disk, or not at all.
func (s snapshots) put(c *capture) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("snapshot: %w", err)
		}
	}()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return s.install(c.head.Seq, func(f *os.File) error {
		sum := sha256.New()
		w := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<20)
		if err := errors.Join(c.write(w), w.Flush()); err != nil {
			return err
		}
		_, err := fmt.Fprintf(f, "%x\n", sum.Sum(nil))
		return err
	})
}

// install makes a snapshot of what write writes, durable when it is there.
func (s snapshots) install(seq uint64, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.path(seq)); err != nil {
		return err
	}
	return durable.Names(s.dir)
}

// NewestSnapshot opens the newest snapshot in a directory of them, and says of which event it is.
func NewestSnapshot(dir string) (*os.File, uint64, error) {
	s := snapshots{dir}
	all, err := s.list()
	if err != nil {
		return nil, 0, err
	}
	if len(all) == 0 {
		return nil, 0, fmt.Errorf("snapshots: %w", os.ErrNotExist)
	}
	f, err := os.Open(s.path(all[0]))
	if err != nil {
		return nil, 0, fmt.Errorf("snapshots: %w", err)
	}
	return f, all[0], nil
}

// ImportSnapshot puts a snapshot of the same log, as another matchmaker has it, into a directory. One whose checksum is
// wrong is refused. A queue that is opened then begins with it, if it is the newest.
func ImportSnapshot(dir string, seq uint64, from io.Reader) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("import snapshot: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return snapshots{dir}.install(seq, func(f *os.File) error {
		if _, err := io.Copy(f, from); err != nil {
			return err
		}
		_, err := verified(f)
		return err
	})
}

// get reads a snapshot into an empty state.
func (s snapshots) get(seq uint64, into *state) error {
	f, err := os.Open(s.path(seq))
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer f.Close()
	content, err := verified(f)
	if err == nil {
		err = readSnapshot(content, into)
	}
	if err == nil && into.seq != seq {
		err = fmt.Errorf("it is of event %d", into.seq)
	}
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", f.Name(), err)
	}
	return nil
}

// verified gives what a snapshot's file holds before the checksum at its end, if that is right.
func verified(f *os.File) (io.Reader, error) {
	const tail = 2*sha256.Size + 1
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size() - tail
	if size < 0 {
		return nil, errors.New("it has no checksum")
	}
	var said [tail]byte
	if _, err := f.ReadAt(said[:], size); err != nil {
		return nil, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return nil, err
	}
	if !bytes.Equal(said[:tail-1], hex.AppendEncode(nil, sum.Sum(nil))) {
		return nil, errors.New("its checksum is wrong: it has been damaged")
	}
	return bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<20), nil
}

// drop removes all but the newest ones, and what a crash has left half written.
func (s snapshots) drop() error {
	all, err := s.list()
	if err != nil {
		return err
	}
	for _, seq := range all[min(len(all), keepSnapshots):] {
		err = errors.Join(err, os.Remove(s.path(seq)))
	}
	half, _ := filepath.Glob(filepath.Join(s.dir, "new-*"))
	for _, path := range half {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// resume makes the newest good snapshot the state, if there is one.
func (q *Queue) resume(ctx context.Context) error {
	if q.cfg.Snapshots == "" {
		return nil
	}
	dir := snapshots{q.cfg.Snapshots}
	all, err := dir.list()
	if err != nil {
		return err
	}
	for _, seq := range all {
		s := q.emptyState()
		err := dir.get(seq, s)
		if err == nil {
			err = q.belongs(ctx, s)
		}
		if err == nil {
			q.state, q.snapshot = s, seq
			return nil
		}
		if errors.Is(err, errCutShort) {
			return &diag.Problem{What: err.Error(), Hint: "the log has lost events: " + hintDamaged, Err: ErrDamaged}
		}
		if errors.Is(err, ErrTableAway) {
			return err // nothing is wrong with the snapshot
		}
		q.log.Warn("a snapshot of the queue is passed over", diag.KeyError, err)
	}
	return nil
}

var errCutShort = errors.New("the queue log has been cut short")

// belongs says whether a snapshot's state is one that the log has come to.
func (q *Queue) belongs(ctx context.Context, s *state) error {
	last, err := q.logEnd(ctx, s.seq)
	if err != nil {
		return err
	}
	if last < s.seq {
		return fmt.Errorf("%w: it ends with event %d, before the snapshot of event %d", errCutShort, last, s.seq)
	}
	record, err := q.readOne(ctx, s.seq)
	if errors.Is(err, bus.ErrGap) {
		// A repair may have found no more than the snapshot: then it is the next event that has to fit.
		if first, ferr := q.cfg.Log.First(ctx); ferr == nil && first == s.seq+1 {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if c := chainAfter(record); c.sealed && c != s.chain {
		return fmt.Errorf("the snapshot of event %d is of another log", s.seq)
	}
	return nil
}

// keepSnapshots writes a snapshot whenever there are enough new events, until ctx ends, and forgets what is before the
// older one. With purge it has the log forget it, too.
func (q *Queue) keepSnapshots(ctx context.Context, purge bool) {
	if q.cfg.Snapshots == "" {
		return
	}
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if last, _ := q.Last(); last < q.snapshot+q.cfg.SnapshotEvery {
			continue
		}
		err := q.takeSnapshot()
		if err == nil {
			err = q.forget(ctx, purge)
		}
		if err != nil && ctx.Err() == nil {
			q.log.Warn("snapshot of the queue", diag.KeyError, err)
		}
	}
}

func (q *Queue) takeSnapshot() error {
	start := time.Now()
	q.mu.RLock()
	c := q.state.capture()
	q.mu.RUnlock()
	q.snapshot = c.head.Seq // also after an error: the next one is tried later
	if err := q.recordAll(); err != nil {
		return err // a restart from the snapshot would miss them
	}
	dir := snapshots{q.cfg.Snapshots}
	if err := dir.put(c); err != nil {
		return err
	}
	q.log.Info("snapshot of the queue taken", diag.KeySeq, c.head.Seq, diag.KeyTook, time.Since(start))
	return dir.drop()
}

// forget trims the archive before the older snapshot, and, with purge, purges the log, as far as the archive has it and
// nobody else needs it. Tables are forgotten that events need which nobody reads from the log any more, and whose the
// clusters were of which there are no events at all.
func (q *Queue) forget(ctx context.Context, purge bool) error {
	all, err := snapshots{q.cfg.Snapshots}.list()
	if err != nil || len(all) < keepSnapshots || q.cfg.Archive == nil {
		return err
	}
	horizon := all[keepSnapshots-1]
	if q.cfg.Horizon != nil {
		horizon = min(horizon, q.cfg.Horizon())
	}
	if err := q.cfg.Archive.Sync(); err != nil {
		return err
	}
	if _, last := q.cfg.Archive.Span(); last < horizon {
		return fmt.Errorf("the archive ends with event %d, so that the log must keep its events from before %d", last, horizon)
	}
	if purge {
		if err := q.cfg.Log.Purge(ctx, horizon); err != nil {
			return err
		}
	}
	first, err := q.cfg.Log.First(ctx)
	if err != nil {
		return err
	}
	dropped := q.cfg.Archive.Drop(horizon)
	kept, _ := q.cfg.Archive.Span()
	q.mu.Lock()
	q.state.forgetTables(min(horizon, first))
	q.state.forgetUsers(min(kept, first))
	q.mu.Unlock()
	return dropped
}
