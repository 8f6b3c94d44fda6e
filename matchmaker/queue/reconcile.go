package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"skua/internal/bus"
	"skua/internal/diag"
	"skua/internal/pause"
)

// reconcile brings the log and its archive together, before the log is read. A log that ends before its archive
// has lost records: they are added to it again. An archive that ends before its log is brought up to it. Logs
// that tell another story than their archive are left alone. An archive that cannot be written keeps nobody from
// reading the log.
func (q *Queue) reconcile(ctx context.Context) error {
	if q.cfg.Archive == nil {
		return nil
	}
	first, err := q.cfg.Log.First(ctx)
	if err != nil {
		return err
	}
	from, end := q.cfg.Archive.Span()
	last, err := q.logEnd(ctx, end)
	if err != nil {
		return err
	}
	if err := q.agree(ctx, min(last, end), max(first, from)); err != nil {
		return err
	}
	switch {
	case last < end && !q.cfg.Mend:
		return &diag.Problem{
			What: fmt.Sprintf("the queue log ends with event %d, and its archive on this machine with event %d", last, end),
			Hint: "the log has lost events: " + hintDamaged,
		}
	case last < end:
		q.log.Warn("the queue log is shorter than its archive: events are brought back from there", "log", last, "archive", end)
		return q.restore(ctx, first, last, from)
	case last > end:
		err := q.catchUp(ctx)
		if errors.Is(err, errNotArchived) {
			q.log.Warn("the archive of the queue log is behind", diag.KeyError, err)
			return nil
		}
		return err
	}
	return nil
}

// logEnd gives the log's last sequence. One before known, which the log has come to, is asked for again for a moment
// before it is believed: servers that have just chosen another leader may tell an earlier one.
func (q *Queue) logEnd(ctx context.Context, known uint64) (last uint64, err error) {
	const again, moment = 100 * time.Millisecond, 2 * time.Second
	for end := time.Now().Add(moment); ; {
		last, err = q.cfg.Log.Last(ctx)
		if err != nil || last >= known || time.Now().After(end) {
			return last, err
		}
		if err := pause.For(ctx, again); err != nil {
			return 0, err
		}
	}
}

// read calls f with records from sequence from on as [Log.Read] does: from the archive those that the log has
// forgotten, also while it is read.
func (q *Queue) read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error {
	if q.cfg.Archive == nil {
		return q.cfg.Log.Read(ctx, from, f)
	}
	first, err := q.cfg.Log.First(ctx)
	for err == nil {
		if from, err = q.readArchive(ctx, from, first, f); err != nil {
			return err
		}
		err = q.cfg.Log.Read(ctx, from, func(seq uint64, data []byte) error {
			from = seq + 1
			return f(seq, data)
		})
		if !errors.Is(err, bus.ErrGap) {
			return err
		}
		now, ferr := q.cfg.Log.First(ctx)
		if ferr != nil || now <= first {
			return err
		}
		first, err = now, nil
	}
	return err
}

// readArchive calls f with the archive's records from a sequence on and before another one, and says how far it came.
func (q *Queue) readArchive(ctx context.Context, from, before uint64, f func(seq uint64, data []byte) error) (uint64, error) {
	if from >= before {
		return from, nil
	}
	enough := errors.New("enough")
	err := q.cfg.Archive.Read(ctx, from, func(seq uint64, data []byte) error {
		if seq >= before {
			return enough
		}
		from = seq + 1
		return f(seq, data)
	})
	if err == enough {
		err = nil
	}
	return from, err
}

// readOne reads one record.
func (q *Queue) readOne(ctx context.Context, seq uint64) (record []byte, err error) {
	found := errors.New("found")
	err = q.read(ctx, seq, func(_ uint64, data []byte) error {
		record = data
		return found
	})
	if err == found {
		return record, nil
	}
	return nil, errors.Join(err, fmt.Errorf("there is no event %d", seq))
}

// agree compares the log with the archive at one record, which both have if it is not below lowest.
func (q *Queue) agree(ctx context.Context, at, lowest uint64) error {
	if at < lowest || at == 0 {
		return nil
	}
	archived, err := q.cfg.Archive.Record(ctx, at)
	if err != nil {
		return err
	}
	enough := errors.New("enough")
	err = q.cfg.Log.Read(ctx, at, func(_ uint64, data []byte) error {
		if bytes.Equal(data, archived) {
			return enough
		}
		return &diag.Problem{
			What: fmt.Sprintf("the queue log and its archive have different events of number %d", at),
			Hint: "one of them is damaged, or comes from elsewhere, such as an old backup: " + hintDamaged,
		}
	})
	if err == enough {
		return nil
	}
	return err
}

// restore adds to the log what only the archive has, which begins with from.
func (q *Queue) restore(ctx context.Context, first, last, from uint64) error {
	if last+1 < from {
		if first <= last {
			return &diag.Problem{
				What: fmt.Sprintf("the queue log ends with event %d, and its archive begins with event %d", last, from),
				Hint: hintDamaged,
			}
		}
		if err := q.cfg.Log.Purge(ctx, from); err != nil { // it is empty: it goes on from there
			return err
		}
		last = from - 1
	}
	var batch [][]byte
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		n, err := q.cfg.Log.Append(ctx, last, batch)
		if err != nil {
			return fmt.Errorf("bring events back: %w", err)
		}
		last, batch, size = n, nil, 0
		return nil
	}
	missing := last + 1
	begin := max(last, from) // with one that both have, if there is one
	var c chain
	err := q.cfg.Archive.Read(ctx, begin, func(seq uint64, record []byte) error {
		var err error
		if seq == begin && seq > 1 {
			c = chainAfter(record)
		} else if c, err = c.check(record); err != nil {
			return &diag.Problem{
				What: fmt.Sprintf("the archive of the queue log, event %d: %v", seq, err),
				Hint: "events that the log has lost cannot be brought back from it; " + hintDamaged,
				Err:  fmt.Errorf("%w: %w", ErrDamaged, err),
			}
		}
		if seq < missing {
			return nil
		}
		if len(batch) == maxBatch || size+len(record) > maxBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch = append(batch, record)
		size += len(record)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

var errNotArchived = errors.New("the archive cannot be written")

// catchUp brings the archive to the log's end. That it cannot be written is errNotArchived.
func (q *Queue) catchUp(ctx context.Context) error {
	_, end := q.cfg.Archive.Span()
	first, err := q.cfg.Log.First(ctx)
	if err != nil {
		return err
	}
	if first > end+1 {
		if end > 0 {
			q.log.Warn("the archive of the queue log lacks events that the log has forgotten", "from", end+1, "to", first-1)
		}
		end = first - 1
	}
	var batch [][]byte
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := q.cfg.Archive.Append(end+1, batch); err != nil {
			return fmt.Errorf("%w: %w", errNotArchived, err)
		}
		end += uint64(len(batch))
		batch, size = nil, 0
		return nil
	}
	err = q.cfg.Log.Read(ctx, end+1, func(_ uint64, record []byte) error {
		if len(batch) == maxBatch || size+len(record) > maxBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch = append(batch, record)
		size += len(record)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// archivist copies what the log has taken to the archive. It belongs to the committer: an archive that cannot be
// written holds nothing up, and is brought up to date as soon as it can be again, since until then a log that is
// damaged cannot be mended.
type archivist struct {
	q      *Queue
	failed time.Time // when it last could not be written; zero when it is not behind
}

const archiveAgain = time.Second

// due gives a channel on which something comes when it is time to try again; nil when there is nothing to try.
func (a *archivist) due() <-chan time.Time {
	if a.failed.IsZero() {
		return nil
	}
	return time.After(time.Until(a.failed.Add(archiveAgain)))
}

func (a *archivist) copy(ctx context.Context, batch []*request) {
	if a.q.cfg.Archive == nil || time.Since(a.failed) < archiveAgain {
		return
	}
	var first uint64
	var records [][]byte
	for _, r := range batch {
		if r.err != nil || len(r.events) == 0 {
			continue
		}
		if len(records) == 0 {
			first = r.events[0].Seq
		}
		records = append(records, r.records...)
	}
	if len(records) == 0 {
		return
	}
	if _, end := a.q.cfg.Archive.Span(); end+1 == first {
		a.noteError(a.q.cfg.Archive.Append(first, records))
	} else {
		a.noteError(a.q.catchUp(ctx))
	}
}

// follow copies what another leader has logged.
func (a *archivist) follow(ctx context.Context) {
	if a.q.cfg.Archive != nil && time.Since(a.failed) >= archiveAgain {
		a.noteError(a.q.catchUp(ctx))
	}
}

func (a *archivist) noteError(err error) {
	switch {
	case err != nil:
		a.failed = time.Now()
		a.q.log.Warn("the archive of the queue log is behind", diag.KeyError, err)
	case !a.failed.IsZero():
		a.failed = time.Time{}
		a.q.log.Info("the archive of the queue log is up to date again")
	}
}

// syncEvery is how often the archive is put on disk.
const syncEvery = time.Second

// syncCopies puts archive and history on disk now and then until ctx ends.
func (q *Queue) syncCopies(ctx context.Context) {
	if q.cfg.Archive == nil && q.cfg.History == nil {
		return
	}
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			var err error
			if q.cfg.Archive != nil {
				err = q.cfg.Archive.Sync()
			}
			if q.cfg.History != nil {
				err = errors.Join(err, q.cfg.History.Sync())
			}
			if err != nil {
				q.log.Warn("copies of the queue log are not on disk", diag.KeyError, err)
			}
		}
	}
}
