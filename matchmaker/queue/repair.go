package queue

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"skua/internal/diag"
	"skua/internal/durable"
	"skua/internal/job"
)

// Repair is how a damaged log is mended. What is needed of it is built beside what is there, and whatever is
// replaced is moved into Aside, so that nothing is ever deleted.
//
// Where one of log and archive is damaged it is made anew of the other, and nothing is lost. Where both are, what
// comes from there on can only be dropped, if DropTail allows it. The numbers of dropped events are not used
// again, since those who follow the log would take new events of these numbers for known ones: events that say
// nothing take their places.
type Repair struct {
	Config          // as for [Open]; the archive has been opened [ArchiveConfig.ReadOnly]
	DropTail bool   // events may be lost
	Aside    string // directory for what is replaced, which does not exist yet; required

	// NewLog opens a new, empty log. SwapLog puts it in the place of the one there was, which it moves into Aside.
	// Config.Log is not used any more then.
	NewLog  func(context.Context) (Log, error) // required
	SwapLog func() error                       // required
}

// Repaired is what a repair has done.
type Repaired struct {
	Log       bool   // the log is a new one
	Archive   bool   // some of the archive's files are
	Snapshots int    // how many were put aside
	From, To  uint64 // numbers of the events that were dropped; 0 and 0 for none
	Dropped   string // file of those that could be read, in Aside
	Lost      Losses

	at time.Time // when the events were dropped
}

// maxDropped bounds how many numbers can be given up.
const maxDropped = 10_000_000

// Run repairs, unless there is nothing to repair; see [Inspection.Good].
func (r Repair) Run(ctx context.Context) (*Repaired, error) {
	i, s, err := inspect(ctx, r.Config)
	if err != nil {
		return nil, fmt.Errorf("repair queue log: %w", err)
	}
	done := &Repaired{at: time.Now().UTC().Round(0)}
	if i.Good() {
		return done, nil
	}
	last := i.Last
	if i.Fatal != nil {
		last = i.Fatal.Seq - 1
		if !r.DropTail {
			return nil, &diag.Problem{
				What: fmt.Sprintf("event %d cannot be had any more (%s), so that events %d to %d would have to be dropped", i.Fatal.Seq, i.Fatal.What, i.Fatal.Seq, i.Known),
				Hint: "a backup may have them; log repair --drop-tail drops them, and says before what is lost",
			}
		}
		if i.Known-last > maxDropped {
			return nil, &diag.Problem{What: fmt.Sprintf("%d events would have to be dropped: that is not a tail", i.Known-last), Hint: "restore a backup"}
		}
	}
	if err := r.run(ctx, i, s, last, done); err != nil {
		return nil, fmt.Errorf("repair queue log: %w", err)
	}
	return done, nil
}

// run repairs all that is needed for a log whose last event of the old ones is last. What is new is complete before
// anything is replaced; a repair that is interrupted is begun again.
func (r Repair) run(ctx context.Context, i *Inspection, s *story, last uint64, done *Repaired) error {
	if err := os.Mkdir(r.Aside, 0o700); err != nil {
		return err
	}
	if i.Fatal != nil {
		done.From, done.To = last+1, max(i.Known, last+1)
		if err := r.keepDropped(ctx, i, s, done); err != nil {
			return err
		}
	}
	restocked, err := r.newArchive(ctx, i, s, last, done)
	if err != nil {
		return err
	}
	if i.Fatal != nil || i.Log.Damaged > 0 || i.Log.Lacking > 0 {
		log, err := r.NewLog(ctx)
		if err != nil {
			return err
		}
		if err := r.fill(ctx, i, s, r.logBegins(i, last), last, done, &logWriter{ctx: ctx, log: log}); err != nil {
			return err
		}
		done.Log = true
	}
	// Old snapshots first: one that is of another log than the new one is passed over, but why should it be.
	if err := r.dropSnapshots(i, last, done); err != nil {
		return err
	}
	if err := r.swapArchive(restocked, done); err != nil {
		return err
	}
	if done.Log {
		return r.SwapLog()
	}
	return nil
}

// logBegins is the first event that a new log has: as before, but late enough that none is missing from there on, and
// early enough for the oldest snapshot that stays.
func (r Repair) logBegins(i *Inspection, last uint64) uint64 {
	if last > i.told {
		return last + 1 // nothing is left but the snapshot
	}
	begins := i.First
	for _, d := range i.Past {
		begins = d.Seq + 1
	}
	if i.Log.First > begins {
		oldest := uint64(0)
		for _, shot := range i.Snapshots {
			if shot.Bad == "" && shot.Seq <= last {
				oldest = shot.Seq
			}
		}
		begins = max(begins, min(i.Log.First, oldest))
	}
	return max(begins, 1)
}

// fill writes the good events from one number to last, and after them those in the places of the dropped ones.
func (r Repair) fill(ctx context.Context, i *Inspection, s *story, from, last uint64, done *Repaired, to recordWriter) error {
	for m, err := range s.tell(ctx, 1) {
		if err != nil {
			return err
		}
		if m.seq > last {
			break
		}
		if m.record == nil || m.seq < from {
			continue
		}
		if err := to.write(m.seq, m.record); err != nil {
			return err
		}
	}
	c := i.after
	for seq := done.From; seq > 0 && seq <= done.To; seq++ {
		record, err := json.Marshal(job.Event{At: done.at, Body: &job.LeaderEpoch{Leader: "repair: what was here has been dropped"}})
		if err != nil {
			return err
		}
		record, c = c.seal(record)
		if err := to.write(seq, record); err != nil {
			return err
		}
	}
	return to.flush()
}

// newArchive makes new ones of the archive's files from the first damaged one on, in a directory beside it.
func (r Repair) newArchive(ctx context.Context, i *Inspection, s *story, last uint64, done *Repaired) (dir string, err error) {
	if r.Archive == nil || i.Fatal == nil && i.Archive.Damaged == 0 {
		return "", nil
	}
	bad := last + 1
	if len(i.Archive.Damage) > 0 {
		bad = min(bad, i.Archive.Damage[0].Seq)
	}
	from := r.Archive.fileOf(bad)
	if from == 0 {
		from = r.logBegins(i, last)
	}
	cfg := r.Archive.cfg
	cfg.Dir, cfg.ReadOnly = cfg.Dir+".new", false
	if err := os.RemoveAll(cfg.Dir); err != nil { // of a repair that was interrupted
		return "", err
	}
	a, err := OpenArchive(cfg)
	if err != nil {
		return "", err
	}
	err = r.fill(ctx, i, s, from, last, done, &archiveWriter{archive: a})
	return cfg.Dir, errors.Join(err, a.Close())
}

// swapArchive puts new files in the place of those they are made of.
func (r Repair) swapArchive(dir string, done *Repaired) error {
	if dir == "" {
		return nil
	}
	fresh, err := OpenArchive(ArchiveConfig{Dir: dir, ReadOnly: true})
	if err != nil {
		return err
	}
	defer fresh.Close()
	first, _ := fresh.Span()
	aside := filepath.Join(r.Aside, "archive")
	if err := os.Mkdir(aside, 0o700); err != nil {
		return err
	}
	for _, f := range r.Archive.files {
		if first == 0 || f.first >= first {
			if err := os.Rename(r.Archive.path(f.first), filepath.Join(aside, filepath.Base(r.Archive.path(f.first)))); err != nil {
				return err
			}
		}
	}
	for _, f := range fresh.files {
		if err := os.Rename(fresh.path(f.first), r.Archive.path(f.first)); err != nil {
			return err
		}
	}
	done.Archive = true
	return errors.Join(durable.Names(aside), durable.Names(r.Archive.cfg.Dir), os.RemoveAll(dir))
}

// fileOf gives the first sequence of the file that has, or should have, a record; 0 when there is none.
func (a *Archive) fileOf(seq uint64) (first uint64) {
	for _, f := range a.files {
		if f.first <= seq {
			first = f.first
		}
	}
	return first
}

// dropSnapshots puts aside those that are bad, or of events that are dropped.
func (r Repair) dropSnapshots(i *Inspection, last uint64, done *Repaired) error {
	dir := snapshots{r.Snapshots}
	aside := filepath.Join(r.Aside, "snapshots")
	for _, s := range i.Snapshots {
		if s.Bad == "" && s.Seq <= last {
			continue
		}
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return err
		}
		if err := os.Rename(dir.path(s.Seq), filepath.Join(aside, filepath.Base(dir.path(s.Seq)))); err != nil {
			return err
		}
		done.Snapshots++
	}
	return nil
}

// keepDropped writes down what is dropped, as "log dump" prints it, and sums up what that means.
func (r Repair) keepDropped(ctx context.Context, i *Inspection, s *story, done *Repaired) error {
	done.Dropped = filepath.Join(r.Aside, "dropped.jsonl")
	f, err := os.OpenFile(done.Dropped, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	keep := func(rec Record) error {
		done.Lost.add(rec)
		_, err := w.Write(rec.Line())
		return err
	}
	for m, err := range s.tell(ctx, 1) {
		if err == nil && m.seq >= done.From {
			err = keep(m.told())
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	for seq := max(i.told+1, done.From); seq <= done.To; seq++ {
		if err := keep(Record{Seq: seq, Bad: missing}); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Sync(), f.Close(), durable.Names(r.Aside))
}

// recordWriter takes records in order.
type recordWriter interface {
	write(seq uint64, record []byte) error
	flush() error
}

// batch gathers records that are written together.
type batch struct {
	first   uint64
	records [][]byte
	bytes   int
}

// full says whether the batch has to be written before it takes the record.
func (b *batch) full(seq uint64, record []byte) bool {
	return len(b.records) == maxBatch || b.bytes+len(record) > maxBatchBytes || len(b.records) > 0 && seq != b.first+uint64(len(b.records))
}

func (b *batch) add(seq uint64, record []byte) {
	if len(b.records) == 0 {
		b.first = seq
	}
	b.records = append(b.records, record)
	b.bytes += len(record)
}

// logWriter writes a new log, which begins with the first record it is given.
type logWriter struct {
	ctx  context.Context // of one repair
	log  Log
	wait batch
	last uint64
}

func (w *logWriter) write(seq uint64, record []byte) error {
	if w.wait.full(seq, record) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.last == 0 && len(w.wait.records) == 0 && seq > 1 {
		if err := w.log.Purge(w.ctx, seq); err != nil { // it is empty: it goes on from there
			return err
		}
		w.last = seq - 1
	}
	w.wait.add(seq, record)
	return nil
}

func (w *logWriter) flush() (err error) {
	if len(w.wait.records) > 0 {
		w.last, err = w.log.Append(w.ctx, w.last, w.wait.records)
		w.wait = batch{}
	}
	return err
}

type archiveWriter struct {
	archive *Archive
	wait    batch
}

func (w *archiveWriter) write(seq uint64, record []byte) error {
	if w.wait.full(seq, record) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.wait.add(seq, record)
	return nil
}

func (w *archiveWriter) flush() (err error) {
	if len(w.wait.records) > 0 {
		err = w.archive.Append(w.wait.first, w.wait.records)
		w.wait = batch{}
	}
	return err
}
