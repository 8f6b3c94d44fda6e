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
	maxOpen    = 100     // files open at a time
	maxWaiting = 100_000 // entries kept for a log that cannot be written
	retryLogs  = time.Minute
)

func openLogs(dir string, waiting map[string][]entry, log *slog.Logger) (*logs, error) {
	l := &logs{dir: filepath.Join(dir, "logs"), log: log, books: map[string]*book{}, retry: time.NewTimer(retryLogs)}
	l.retry.Stop()
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the courier's directory: %w", err)
	}
	for path, entries := range waiting {
		l.book(path).entries = entries
	}
	return l, nil
}

// use says that one more job writes to the log at path.
func (l *logs) use(path string) { l.book(path).uses++ }

// release says that a job has nothing more to write.
func (l *logs) release(path string) { l.book(path).uses-- }

func (l *logs) book(path string) *book {
	b := l.books[path]
	if b == nil {
		b = &book{path: path}
		l.books[path] = b
	}
	return b
}

// append adds what an event means to a log. It is written by the next sync.
func (l *logs) append(path string, seq uint64, events []eventlog.Event) {
	if path == "" || len(events) == 0 {
		return
	}
	b := l.book(path)
	if n := len(b.entries); n > 0 && b.entries[n-1].Seq == seq { // several jobs of one event
		if b.given < n {
			b.entries[n-1].Events = append(b.entries[n-1].Events, events...)
		}
		return
	}
	if len(b.entries) >= maxWaiting {
		return // said by complain
	}
	b.entries = append(b.entries, entry{Seq: seq, Events: events})
}

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
		b.entries, b.given, b.trouble = nil, 0, ""
	}
	if rest != nil {
		l.retry.Reset(retryLogs)
	}
	return rest
}

func (l *logs) write(b *book) error {
	if b.writer == nil {
		if err := l.openBook(b); err != nil {
			return err
		}
	}
	for ; b.given < len(b.entries); b.given++ {
		e := b.entries[b.given]
		if err := b.writer.Append(e.Seq, e.Events...); err != nil {
			return err
		}
	}
	return b.writer.Sync()
}

func (l *logs) openBook(b *book) error {
	if len(l.open) >= maxOpen {
		l.closeBook(l.open[0])
	}
	w, err := eventlog.OpenWriter(b.path, l.position(b.path))
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
	if len(b.entries) >= maxWaiting {
		l.log.Error("too much waits for a job log; what comes now is left out", diag.KeyFile, b.path)
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
