package courier

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"skua/internal/diag"
	"skua/internal/eventlog"
)

// logs are the event logs that this courier writes.
type logs struct {
	dir   string // of the writers' positions
	log   *slog.Logger
	books map[string]*book // by path
	open  []*book          // with a writer, the longest unused first
	retry *time.Timer
	kept  int  // bytes of entries in all books
	anew  bool // the courier's position was lost once
}

// book is one event log.
type book struct {
	path    string
	uses    int              // by jobs
	writer  *eventlog.Writer // nil while it is closed
	entries []entry          // that are not surely on disk
	given   int              // of these, how many the writer has
	trouble string           // why it cannot be written, as it was last said
}

const (
	maxOpen   = 100      // files open at a time
	maxKept   = 64 << 20 // bytes of entries, beyond which no more are taken until they can be written
	retryLogs = time.Minute
)

func openLogs(dir string, waiting map[string][]entry, anew bool, log *slog.Logger) (*logs, error) {
	l := &logs{dir: filepath.Join(dir, "logs"), log: log, anew: anew, books: map[string]*book{}, retry: time.NewTimer(retryLogs)}
	l.retry.Stop()
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the courier's directory: %w", err)
	}
	for path, entries := range waiting {
		l.book(path).entries = entries
		for _, e := range entries {
			l.kept += len(e.Text)
		}
	}
	return l, nil
}

// use says that one more job writes to the log at path.
func (l *logs) use(path string) {
	if path != "" {
		l.book(path).uses++
	}
}

// release says that a job has nothing more to write.
func (l *logs) release(path string) {
	if path != "" {
		l.book(path).uses--
	}
}

func (l *logs) book(path string) *book {
	b := l.books[path]
	if b == nil {
		b = &book{path: path}
		l.books[path] = b
	}
	return b
}

// pages are the texts that one event adds to logs, by path.
type pages map[string][]byte

// add adds entries in the form that the log has.
func (p pages) add(path string, json bool, entries []eventlog.Event) {
	if path == "" || len(entries) == 0 {
		return
	}
	text := p[path]
	for _, e := range entries {
		if json {
			text = e.AppendJSON(text)
		} else {
			text = e.Append(text)
		}
	}
	p[path] = text
}

// tell adds entries to the logs of a job.
func (p pages) tell(o *origin, entries []eventlog.Event) {
	p.add(o.log, o.json, entries)
	p.add(o.second, false, entries)
}

// noEvent is in the place of an event's number where entries stem from none.
const noEvent = 0

// append adds what the event numbered seq means to its logs. It is written by the next sync.
func (l *logs) append(seq uint64, out pages) {
	for path, text := range out {
		b := l.book(path)
		b.entries = append(b.entries, entry{Seq: seq, Text: string(text)})
		l.kept += len(text)
	}
}

// full says whether so much could not be written that no more can be kept.
func (l *logs) full() bool { return l.kept > maxKept && l.waiting() }

// sync writes what was appended, as far as it can be written, and returns the rest.
func (l *logs) sync() map[string][]entry {
	var rest map[string][]entry
	for _, b := range l.books {
		if len(b.entries) == 0 {
			continue
		}
		if err := l.write(b); err != nil {
			l.complain(b, err)
			if rest == nil {
				rest = map[string][]entry{}
			}
			rest[b.path] = b.entries
			continue
		}
		if b.trouble != "" {
			l.log.Info("job log can be written again", diag.KeyFile, b.path)
		}
		for _, e := range b.entries {
			l.kept -= len(e.Text)
		}
		b.entries, b.given, b.trouble = nil, 0, ""
	}
	if rest != nil {
		l.later()
	}
	return rest
}

// later has what failed tried again after a while.
func (l *logs) later() { l.retry.Reset(retryLogs) }

func (l *logs) write(b *book) error {
	if b.writer != nil && b.writer.Moved() {
		l.closeBook(b)
	}
	if b.writer == nil {
		if err := l.openBook(b); err != nil {
			return err
		}
	}
	for ; b.given < len(b.entries); b.given++ {
		e := b.entries[b.given]
		var err error
		if e.Seq == noEvent {
			err = b.writer.AppendMore([]byte(e.Text))
		} else {
			err = b.writer.AppendText(e.Seq, []byte(e.Text))
		}
		if err != nil {
			return err
		}
	}
	return b.writer.Sync()
}

func (l *logs) openBook(b *book) error {
	if len(l.open) >= maxOpen {
		l.closeBook(l.open[0])
	}
	open := eventlog.ContinueLog // positions are removed only when nothing comes again
	if l.anew {
		open = eventlog.OpenWriter
	}
	w, err := open(b.path, l.position(b.path))
	if err != nil {
		return err
	}
	b.writer, b.given = w, 0
	l.open = append(l.open, b)
	return nil
}

// closeBook closes a log. What its writer could not bring to disk is still among the entries.
func (l *logs) closeBook(b *book) {
	for i, o := range l.open {
		if o == b {
			l.open = append(l.open[:i], l.open[i+1:]...)
			break
		}
	}
	if b.writer != nil {
		if err := b.writer.Close(); err != nil {
			l.complain(b, err)
		}
		b.writer, b.given = nil, 0
	}
}

// complain says once what is wrong with a log.
func (l *logs) complain(b *book, err error) {
	if err.Error() == b.trouble {
		return
	}
	b.trouble = err.Error()
	l.log.Warn("job log cannot be written; it is tried again", diag.KeyFile, b.path, diag.KeyError, err, "waiting", len(b.entries))
	if l.full() {
		l.log.Error("too much waits for job logs; nothing goes on until they can be written", diag.KeyFile, b.path)
	}
}

// position is the file in which a log's writer keeps how far it is.
func (l *logs) position(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(l.dir, hex.EncodeToString(sum[:16])+".json")
}

// tidy forgets the logs that no job uses. It is called when the courier's own position is beyond all that
// they have, so that theirs are not needed any more.
func (l *logs) tidy() {
	for path, b := range l.books {
		if b.uses > 0 || len(b.entries) > 0 {
			continue
		}
		l.closeBook(b)
		if err := os.Remove(l.position(path)); err != nil && !os.IsNotExist(err) {
			l.log.Warn("position of a finished log not removed", diag.KeyFile, path, diag.KeyError, err)
		}
		delete(l.books, path)
	}
}

// waiting says whether a log could not be written.
func (l *logs) waiting() bool {
	for _, b := range l.books {
		if len(b.entries) > 0 {
			return true
		}
	}
	return false
}

func (l *logs) close() {
	for len(l.open) > 0 {
		l.closeBook(l.open[0])
	}
	l.retry.Stop()
}
