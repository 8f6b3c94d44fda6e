package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	renameio "github.com/google/renameio/v2/maybe"

	"skua/internal/diag"
)

// Writer appends events to a log. There must be one writer of a log at a time; readers may come and
// go.
//
// Every event stems from an entry of the queue log, whose sequence number says whether it has been
// written. That number is not in the user's log, where other programs would trip over it, but in a
// position file of the writer's own, which is renamed into place after the log is on disk and holds
// the number and the length of the log at that moment. A crash in between leaves events in the log
// beyond that length. They are recognised when they come again, since the same entry gives events of the same
// kind, job and time, in the same order, and are not written twice. Their text may differ in what is looked up when
// it is made, such as how much of the disk the job asks for by then.
type Writer struct {
	path     string
	position string
	log      *os.File
	seq      uint64         // entries up to this one are written
	sure     int64          // length up to which no event can come again
	unsure   map[string]int // events after that length, see identity, and how often
	more     bool           // something of AppendMore is written, which may come again
	dirty    bool           // something is written that Sync has not recorded
}

// record is the content of the position file.
type record struct {
	Version int    `json:"v"`
	Seq     uint64 `json:"seq"`
	Size    int64  `json:"size"`
}

// recordVersion is the form of the position file.
//
//   - 1: first release
const recordVersion = 1

// OpenWriter opens or makes the log at path, with position as the writer's own file for it, in a
// directory that exists. It repairs the end of a log whose writer was interrupted. A file that is
// not an event log is left as it is, and a Problem says so.
//
// Without a position, what the log has may have been written by one that was interrupted or whose position
// is lost: as far as the same entries come again, they are not written twice.
func OpenWriter(path, position string) (*Writer, error) { return openWriter(path, position, false) }

// ContinueLog is [OpenWriter] for one who knows that without a position nothing that the log has comes again.
// A log that has grown large is not read then, but for its end, and the position is recorded at once.
func ContinueLog(path, position string) (*Writer, error) { return openWriter(path, position, true) }

func openWriter(path, position string, known bool) (*Writer, error) {
	w := &Writer{path: path, position: position, unsure: map[string]int{}}
	rec, there, err := readRecord(position)
	if err != nil {
		return nil, err
	}
	fresh := known && !there
	w.log, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &diag.Problem{
			What: fmt.Sprintf("job log %s: there is no directory %s", path, filepath.Dir(path)),
			Hint: "make the directory; what happened meanwhile is written then", Err: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open job log: %w", err)
	}
	const most = 64 << 20 // what can have been written without a Sync, generously
	if fresh {
		err = w.repair(rec, MaxEvent)
	} else {
		err = w.repair(rec, most)
	}
	w.seq = rec.Seq
	if err == nil && fresh {
		clear(w.unsure)
		w.dirty = true
		err = w.Sync()
	}
	if err != nil {
		w.log.Close()
		return nil, err
	}
	return w, nil
}

func readRecord(position string) (rec record, there bool, err error) {
	text, err := os.ReadFile(position)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, fmt.Errorf("read position of job log: %w", err)
	}
	if err := json.Unmarshal(text, &rec); err != nil || rec.Size < 0 {
		return record{}, false, fmt.Errorf("read position of job log: %s is damaged: %q", position, text[:min(len(text), 40)])
	}
	if rec.Version > recordVersion {
		return record{}, false, fmt.Errorf("read position of job log: %s is of version %d, this program knows %d", position, rec.Version, recordVersion)
	}
	return rec, true, nil
}

// Seq is the number of the last entry of the queue log whose events are surely in the log. The
// entries after it are to be given to Append, from the next on.
func (w *Writer) Seq() uint64 { return w.seq }

// Append writes the events of entry seq as text; see [Writer.AppendText].
func (w *Writer) Append(seq uint64, events ...Event) error {
	var b []byte
	for _, e := range events {
		b = e.Append(b)
	}
	return w.AppendText(seq, b)
}

// AppendText writes the events of entry seq, all or none, in the form that [Event.Append] or
// [Event.AppendJSON] has given them. An entry that was written before is passed over. Nothing is sure to
// be on disk before [Writer.Sync].
func (w *Writer) AppendText(seq uint64, text []byte) error {
	if seq <= w.seq {
		return nil
	}
	fresh, err := w.put(text)
	if err != nil {
		return err
	}
	if fresh {
		clear(w.unsure) // entries come in order: what was written before has all come again
	}
	w.seq, w.more, w.dirty = seq, false, true
	return nil
}

// AppendMore writes events that stem from no entry: what was found out between two. Until the next entry they may come
// again, also to another Writer, and are recognised then.
func (w *Writer) AppendMore(text []byte) error {
	if _, err := w.put(text); err != nil {
		return err
	}
	w.more, w.dirty = true, true
	return nil
}

// put writes the events of text that have not been written, and says whether there were any.
func (w *Writer) put(text []byte) (written bool, err error) {
	fresh, again := w.fresh(text)
	if len(fresh) > 0 {
		if err := w.write(fresh); err != nil {
			return false, err
		}
	}
	for t, n := range again {
		if w.unsure[t] -= n; w.unsure[t] <= 0 {
			delete(w.unsure, t)
		}
	}
	return len(fresh) > 0, nil
}

// fresh gives the events of text that have not been written, and the others with how often they come.
func (w *Writer) fresh(text []byte) (fresh []byte, again map[string]int) {
	if len(w.unsure) == 0 {
		return text, nil
	}
	again = map[string]int{}
	for len(text) > 0 {
		n, whole, _ := cutEvent(text)
		if !whole {
			n = len(text)
		}
		if e := identity(text[:n]); again[e] < w.unsure[e] {
			again[e]++
		} else {
			fresh = append(fresh, text[:n]...)
		}
		text = text[n:]
	}
	return fresh, again
}

// identity is what is the same of an event when it comes again.
func identity(text []byte) string {
	e, err := Parse(string(text), time.UTC)
	if err != nil {
		return string(text)
	}
	return fmt.Sprint(int(e.Kind), " ", e.Job, " ", e.Time.Unix(), " ", int(e.Transfer))
}

// write appends b. A part that was written when the disk became full is taken back, so that the next
// event does not follow half of one.
func (w *Writer) write(b []byte) error {
	n, err := w.log.Write(b)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, w.takeBack(n))
		}
		return fmt.Errorf("write job log: %w", err)
	}
	return nil
}

// takeBack cuts off the last n bytes. What others have appended before them stays.
func (w *Writer) takeBack(n int) error {
	info, err := w.log.Stat()
	if err != nil {
		return err
	}
	return w.log.Truncate(info.Size() - int64(n))
}

// Sync puts what was appended on disk and then records how far the log has come.
func (w *Writer) Sync() error {
	if !w.dirty {
		return nil
	}
	info, err := w.log.Stat()
	if err != nil {
		return fmt.Errorf("sync job log: %w", err)
	}
	if info.Mode().IsRegular() { // not /dev/null, which people name to have no log
		if err := w.log.Sync(); err != nil {
			return fmt.Errorf("sync job log: %w", err)
		}
	}
	if len(w.unsure) == 0 && !w.more {
		w.sure = info.Size() // with what others have appended; else the next writer must recognise what has not come again yet
	}
	text, err := json.Marshal(record{Version: recordVersion, Seq: w.seq, Size: w.sure})
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(w.position, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("record position of job log: %w", err)
	}
	w.dirty = false
	return nil
}

// Moved reports whether the log's name is another file's by now, or nobody's: the user has put the log away.
// What is written goes where the log went; to begin a new one, close the Writer and open another.
func (w *Writer) Moved() bool {
	here, err := w.log.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(w.path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(here, there)
}

// Close syncs and closes the log.
func (w *Writer) Close() error { return errors.Join(w.Sync(), w.log.Close()) }

// beginning matches what an interrupted write can have left: the first bytes of an event.
var beginning = regexp.MustCompile(`^\d{3} \(\d{3,}\.(?:\d{3,}|-\d{2,})\.\d{3}\) `)

// objectBegins is the same for an event in JSON.
const objectBegins = `{"MyType":"`

// repair looks at the log beyond the recorded length, at most so many bytes of it. Whole events there are
// remembered as perhaps ours; half an event at the very end is cut off, since its entry comes again.
func (w *Writer) repair(rec record, most int64) error {
	info, err := w.log.Stat()
	if err != nil {
		return fmt.Errorf("open job log: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil // a pipe or /dev/null has no end to repair
	}
	size := info.Size()
	from := rec.Size
	if from > size { // begun anew by the user
		from = 0
	}
	w.sure = from
	if size-from > most {
		from = size - most // not at the boundary of an event, which remainder finds
	}
	tail, err := remainder(w.log, from, size, func(event []byte) { w.unsure[identity(event)]++ })
	if err != nil {
		return err
	}
	if len(tail) == 0 {
		return nil
	}
	if foreign(tail) {
		return &diag.Problem{
			What: fmt.Sprintf("job log %s: the file ends with something that is not a job event: %.40q", w.path, tail),
			Hint: "name another file with \"log = ...\", or move this one away",
			Err:  ErrNotEvent,
		}
	}
	if err := w.log.Truncate(size - int64(len(tail))); err != nil {
		return fmt.Errorf("repair job log: %w", err)
	}
	return nil
}

// CheckEnd gives [ErrNotEvent] for a file that ends with something that is not a job event: no [Writer] goes on with it. It
// reads the last of it only, and changes nothing.
func CheckEnd(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	tail, err := remainder(f, max(0, info.Size()-MaxEvent), info.Size(), func([]byte) {})
	if err == nil && foreign(tail) {
		err = ErrNotEvent
	}
	return err
}

// remainder gives what stands after the last whole event of a part of a log, and has each seen.
func remainder(log io.ReaderAt, from, upto int64, see func(event []byte)) ([]byte, error) {
	tail := make([]byte, upto-from)
	if _, err := log.ReadAt(tail, from); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read job log: %w", err)
	}
	for {
		n, whole, _ := cutEvent(tail)
		if !whole {
			return tail, nil
		}
		see(tail[:n])
		tail = tail[n:]
	}
}

// foreign reports whether what stands after the last whole event was not written as one.
func foreign(tail []byte) bool { return len(bytes.TrimSpace(tail)) > 0 && !torn(tail) }

// torn reports whether b can be what is left of an event: its first bytes, or the zeros that some
// file systems leave where data did not reach the disk.
func torn(b []byte) bool {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return true
	}
	if len(b) > MaxEvent {
		return false
	}
	if beginning.Match(b) {
		return true
	}
	if n := min(len(b), len(objectBegins)); string(b[:n]) == objectBegins[:n] {
		return true
	}
	const shape = "000 (000.000.000) "
	if len(b) >= len(shape) {
		return false
	}
	for i, c := range b { // the beginning of a beginning
		if digit := c >= '0' && c <= '9'; i < 5 && (digit != (shape[i] == '0') || !digit && c != shape[i]) {
			return false
		} else if i >= 5 && !digit && bytes.IndexByte([]byte("-.) "), c) < 0 {
			return false
		}
	}
	return true
}
