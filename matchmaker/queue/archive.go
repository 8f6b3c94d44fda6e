package queue

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"skua/internal/bus"
	"skua/internal/durable"
)

// Archive is a plain copy of the queue log: files of records, a line each, named by the sequence of the first. It
// is written after the log has taken the records, so that it may lack the last ones, and it is kept longer than
// the log. A log that is lost is rebuilt from it, and events that the log has forgotten are read from it. The
// running hash in the records covers it as it does the log.
//
// One goroutine at a time may append; reading is possible meanwhile.
type Archive struct {
	cfg ArchiveConfig

	mu    sync.Mutex // guards what follows
	files []archived // in order
	last  uint64     // sequence of the last record; 0 for none
	tail  *os.File   // the last of files, nil before the first append
	dirty bool       // something is not on disk yet
	bad   bool       // what is behind the end of tail is half a record
}

// archived is one file of an archive.
type archived struct {
	first uint64
	bytes int64 // of whole records
}

// ArchiveConfig says where an archive is.
type ArchiveConfig struct {
	Dir      string // required
	MaxFile  int64  // bytes after which a new file begins; 0 means 64 MiB
	MaxBytes int64  // in all, beyond which [Archive.Drop] removes files; 0 means 10 GiB
	ReadOnly bool   // nothing is changed, and nothing can be appended
}

const archiveSuffix = ".log"

// OpenArchive opens the archive in a directory, and makes it when it is not there. Half a record at its end, as a
// crash leaves one, is cut off; the log has it.
func OpenArchive(cfg ArchiveConfig) (*Archive, error) {
	if cfg.MaxFile == 0 {
		cfg.MaxFile = 64 << 20
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 10 << 30
	}
	if !cfg.ReadOnly {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("open archive: %w", err)
		}
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil && !(cfg.ReadOnly && errors.Is(err, os.ErrNotExist)) {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	a := &Archive{cfg: cfg}
	for _, e := range entries {
		digits, isLog := strings.CutSuffix(e.Name(), archiveSuffix)
		first, err := strconv.ParseUint(digits, 10, 64)
		if !isLog || err != nil || first == 0 {
			continue // what a repair has put aside, or somebody's notes
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("open archive: %w", err)
		}
		a.files = append(a.files, archived{first, info.Size()})
	}
	slices.SortFunc(a.files, func(x, y archived) int {
		if x.first < y.first {
			return -1
		}
		return 1
	})
	if err := a.findEnd(); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return a, nil
}

// findEnd counts the records of the last file and cuts off half a one.
func (a *Archive) findEnd() error {
	for len(a.files) > 0 {
		end := &a.files[len(a.files)-1]
		mode := os.O_RDWR
		if a.cfg.ReadOnly {
			mode = os.O_RDONLY
		}
		f, err := os.OpenFile(a.path(end.first), mode, 0)
		if err != nil {
			return err
		}
		records, whole, err := countLines(f)
		if err == nil && whole < end.bytes && !a.cfg.ReadOnly {
			err = f.Truncate(whole)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if records > 0 {
			end.bytes, a.last, a.tail = whole, end.first+records-1, f
			return nil
		}
		err = f.Close()
		if !a.cfg.ReadOnly {
			err = errors.Join(err, os.Remove(f.Name()))
		}
		if err != nil {
			return err
		}
		a.files = a.files[:len(a.files)-1]
	}
	return nil
}

// countLines counts the lines of a file that have an end, and their bytes.
func countLines(f *os.File) (lines uint64, whole int64, err error) {
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		lines += uint64(bytes.Count(buf[:n], []byte("\n")))
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			whole = at + int64(i) + 1
		}
		if at += int64(n); err == io.EOF {
			return lines, whole, nil
		}
	}
}

func (a *Archive) path(first uint64) string {
	return filepath.Join(a.cfg.Dir, fmt.Sprintf("%020d%s", first, archiveSuffix))
}

// Span gives the sequences of the first record and of the last; 0 and 0 for an empty archive.
func (a *Archive) Span() (first, last uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.files) == 0 {
		return 0, 0
	}
	return a.files[0].first, a.last
}

// Append adds records, of which the first has the sequence first. It must follow on the last record, but for a
// log that has forgotten what lies between. The records are on disk when the next Sync returns.
func (a *Archive) Append(first uint64, records [][]byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if first <= a.last {
		return fmt.Errorf("archive: record %d comes after %d", first, a.last)
	}
	var lines []byte
	for _, r := range records {
		if bytes.IndexByte(r, '\n') >= 0 {
			return fmt.Errorf("archive: one of the records from %d on is more than one line", first)
		}
		lines = append(append(lines, r...), '\n')
	}
	if err := a.begin(first); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	end := &a.files[len(a.files)-1]
	if _, err := a.tail.WriteAt(lines, end.bytes); err != nil {
		a.bad = true
		return fmt.Errorf("archive: %w", err)
	}
	end.bytes += int64(len(lines))
	a.last = first + uint64(len(records)) - 1
	a.dirty = true
	return nil
}

// begin makes the file ready in which a record goes.
func (a *Archive) begin(first uint64) error {
	if a.bad {
		if err := a.tail.Truncate(a.files[len(a.files)-1].bytes); err != nil {
			return err
		}
		a.bad = false
	}
	if a.tail != nil && first == a.last+1 && a.files[len(a.files)-1].bytes < a.cfg.MaxFile {
		return nil
	}
	f, err := os.OpenFile(a.path(first), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if a.tail != nil {
		if err := a.tail.Sync(); err != nil { // it stays the tail, and is tried again
			return errors.Join(err, f.Close())
		}
		a.tail.Close() // it is on disk
	}
	a.tail = f
	a.files = append(a.files, archived{first: first})
	return durable.Names(a.cfg.Dir)
}

// Sync puts what was appended on disk.
func (a *Archive) Sync() error {
	a.mu.Lock()
	tail, dirty := a.tail, a.dirty
	a.dirty = false
	a.mu.Unlock()
	if !dirty {
		return nil
	}
	// Without the lock: nobody waits for the disk. A tail that was closed meanwhile has been synced.
	if err := tail.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		a.mu.Lock()
		a.dirty = true
		a.mu.Unlock()
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// Read calls f with the records from sequence from on, in order, up to what was the last when Read was called. A
// record that the archive does not have is a [bus.GapError]; an error of f ends the reading and is returned as it is.
func (a *Archive) Read(ctx context.Context, from uint64, f func(seq uint64, data []byte) error) error {
	from = max(from, 1)
	a.mu.Lock()
	files, last := slices.Clone(a.files), a.last
	a.mu.Unlock()
	for i, file := range files {
		upto := last
		if i+1 < len(files) {
			upto = files[i+1].first - 1
		}
		if upto < from {
			continue
		}
		if from < file.first {
			return fmt.Errorf("archive: %w", &bus.GapError{From: from, Next: file.first})
		}
		next, err := a.readFile(ctx, file, min(upto, last), from, f)
		if errors.Is(err, bufio.ErrTooLong) {
			gap := &bus.GapError{From: next}
			if i+1 < len(files) {
				gap.Next = files[i+1].first
			}
			return fmt.Errorf("archive: %s, record %d has no end: %w", a.path(file.first), next, gap)
		}
		if err != nil {
			return err
		}
		if next <= upto && i == len(files)-1 {
			return fmt.Errorf("archive: %s ends at record %d, not at %d: %w", a.path(file.first), next-1, upto, &bus.GapError{From: next})
		}
		from = max(from, next)
	}
	return nil
}

// readFile reads the records of one file up to one, and gives the sequence of the next.
func (a *Archive) readFile(ctx context.Context, file archived, upto, from uint64, f func(uint64, []byte) error) (uint64, error) {
	in, err := os.Open(a.path(file.first))
	if err != nil {
		return 0, fmt.Errorf("archive: %w", err)
	}
	defer in.Close()
	lines := bufio.NewScanner(io.LimitReader(in, file.bytes))
	lines.Buffer(make([]byte, 64<<10), 2*maxRecord)
	seq := file.first
	for ; seq <= upto && lines.Scan(); seq++ {
		if seq < from {
			continue
		}
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("archive: %w", err)
		}
		if err := f(seq, bytes.Clone(lines.Bytes())); err != nil {
			return 0, err
		}
	}
	if err := lines.Err(); err != nil {
		return seq, fmt.Errorf("archive: %s, record %d: %w", in.Name(), seq, err)
	}
	return seq, nil
}

// Record reads one record.
func (a *Archive) Record(ctx context.Context, seq uint64) (record []byte, err error) {
	found := errors.New("found")
	err = a.Read(ctx, seq, func(_ uint64, data []byte) error {
		record = data
		return found
	})
	if err == found {
		return record, nil
	}
	if err == nil {
		err = fmt.Errorf("archive: %w", &bus.GapError{From: seq})
	}
	return nil, err
}

// Drop removes the oldest files while the archive is larger than it may be, but none with a record from keep on.
func (a *Archive) Drop(keep uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var total int64
	for _, f := range a.files {
		total += f.bytes
	}
	for total > a.cfg.MaxBytes && len(a.files) > 1 && a.files[1].first <= keep {
		if err := os.Remove(a.path(a.files[0].first)); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		total -= a.files[0].bytes
		a.files = a.files[1:]
	}
	return nil
}

// Close puts everything on disk and closes the files.
func (a *Archive) Close() error {
	err := a.Sync()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tail != nil {
		err = errors.Join(err, a.tail.Close())
		a.tail = nil
	}
	return err
}
