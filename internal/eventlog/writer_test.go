package eventlog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"skua/internal/diag"
	"skua/internal/job"
)

// history is what the queue log says of a job, entry by entry; entry 3 concerns other jobs.
var history = map[uint64][]Event{
	1: {{Kind: Submit, Job: j12, Time: noon, Host: "<10.0.0.5:9618>"}},
	2: {{Kind: Execute, Job: j12, Time: noon, Host: "<10.0.0.7:9618>", Slot: "slot1@desk7"}},
	4: {{Kind: Checkpointed, Job: j12, Time: noon}, {Kind: Evicted, Job: j12, Time: noon, Checkpointed: true}},
	5: {{Kind: Execute, Job: j12, Time: noon, Host: "<10.0.0.8:9618>", Slot: "slot1@desk8"}},
	6: {{Kind: Execute, Job: j12, Time: noon, Host: "<10.0.0.8:9618>", Slot: "slot1@desk8"}}, // twice the same text
	7: {{Kind: Terminated, Job: j12, Time: noon, Exit: &Exit{}}},
}

const last = 7

func whole() string {
	var b []byte
	for seq := uint64(1); seq <= last; seq++ {
		for _, e := range history[seq] {
			b = e.Append(b)
		}
	}
	return string(b)
}

func open(t *testing.T, dir string) *Writer {
	t.Helper()
	w, err := OpenWriter(filepath.Join(dir, "job.log"), filepath.Join(dir, "position"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// replay writes what is missing, on disk after each entry.
func replay(t *testing.T, w *Writer) {
	t.Helper()
	for seq := w.Seq() + 1; seq <= last; seq++ {
		if err := w.Append(seq, history[seq]...); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "job.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCrashAnywhere cuts the log all over, with the position recorded at every entry before that,
// and wants the whole history once afterwards.
func TestCrashAnywhere(t *testing.T) {
	dir := t.TempDir()
	var positions, logs []string // after each entry
	w := open(t, dir)
	for seq := uint64(1); seq <= last; seq++ {
		if err := w.Append(seq, history[seq]...); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		p, err := os.ReadFile(filepath.Join(dir, "position"))
		if err != nil {
			t.Fatal(err)
		}
		positions, logs = append(positions, string(p)), append(logs, content(t, dir))
	}
	w.Close()
	for i, position := range append([]string{""}, positions...) {
		recorded := 0
		if i > 0 {
			recorded = len(logs[i-1])
		}
		const step = 23 // bytes; it comes to every remainder, since the beginnings differ
		for cut := recorded; cut <= len(whole()); cut += step {
			dir := t.TempDir()
			if position != "" {
				write(t, filepath.Join(dir, "position"), position)
			}
			write(t, filepath.Join(dir, "job.log"), whole()[:cut])
			replay(t, open(t, dir))
			if got := content(t, dir); got != whole() {
				t.Fatalf("cut at byte %d with position %q:\n%s", cut, position, got)
			}
		}
	}
}

// TestCrashWhileRepeating: a writer that is interrupted again, before all that the first one had written
// has come again, leaves a log that the third completes.
func TestCrashWhileRepeating(t *testing.T) {
	for again := uint64(1); again < last; again++ {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "job.log"), whole())
		w := open(t, dir)
		for seq := uint64(1); seq <= again; seq++ {
			if err := w.Append(seq, history[seq]...); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		replay(t, open(t, dir)) // w was killed
		if got := content(t, dir); got != whole() {
			t.Errorf("interrupted again after entry %d:\n%s", again, got)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAppendMore: what stems from no entry is written once, also by a Writer that does not know of the one before.
func TestAppendMore(t *testing.T) {
	dir := t.TempDir()
	more := Event{Kind: Generic, Job: j12, Time: noon, Reason: "what was found out"}.Append(nil)
	for range 3 {
		w := open(t, dir)
		if w.Seq() == 0 {
			if err := w.Append(1, history[1]...); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.AppendMore(more), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	w := open(t, dir)
	if err := errors.Join(w.Append(2, history[2]...), w.Sync(), w.Append(2, history[2]...), w.Close()); err != nil {
		t.Fatal(err)
	}
	want := string(history[1][0].Append(nil)) + string(more) + string(history[2][0].Append(nil))
	if got := content(t, dir); got != want {
		t.Errorf("the log is\n%s\nwant\n%s", got, want)
	}
}

func TestZerosAtTheEndAreCutOff(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "job.log"), whole()[:300]+strings.Repeat("\x00", 5000))
	replay(t, open(t, dir))
	if got := content(t, dir); got != whole() {
		t.Errorf("got\n%q", got)
	}
}

func TestLogOfOthersIsKept(t *testing.T) {
	others := Event{Kind: Submit, Job: job.ID{Cluster: 1}, Time: noon, Host: "<1.2.3.4:5>"}.String()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "job.log"), others)
	replay(t, open(t, dir))
	if got := content(t, dir); got != others+whole() {
		t.Errorf("got\n%s", got)
	}
}

func TestLogBegunAnew(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	for seq := uint64(1); seq <= 4; seq++ {
		if err := w.Append(seq, history[seq]...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "job.log")); err != nil {
		t.Fatal(err)
	}
	replay(t, open(t, dir))
	want := history[5][0].String() + history[6][0].String() + history[7][0].String()
	if got := content(t, dir); got != want {
		t.Errorf("got\n%s\nwant what came after the log was removed\n%s", got, want)
	}
}

func TestFileThatIsNoLogIsLeftAlone(t *testing.T) {
	for _, text := range []string{"x = 1\n", "12 apples", "000 pears\n", "{\"my\": \"notes\"", whole() + "my own notes\n"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "job.log"), text)
		_, err := OpenWriter(filepath.Join(dir, "job.log"), filepath.Join(dir, "position"))
		var p *diag.Problem
		if !errors.As(err, &p) || p.Hint == "" {
			t.Errorf("%q: error %v, want a problem with a hint", text, err)
		}
		f, err := os.Open(filepath.Join(dir, "job.log"))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckEnd(f); !errors.Is(err, ErrNotEvent) {
			t.Errorf("%q: the end is %v", text, err)
		}
		f.Close()
		if got := content(t, dir); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestMissingDirectory(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenWriter(filepath.Join(dir, "none", "job.log"), filepath.Join(dir, "position"))
	var p *diag.Problem
	if !errors.As(err, &p) || p.Hint == "" {
		t.Errorf("error %v, want a problem with a hint", err)
	}
}

func TestReaderFollows(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "job.log")
	text := whole()
	write(t, name, "")
	r, err := OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []byte
	for i := 0; i < len(text); i += 10 { // ten bytes at a time
		if _, err := f.WriteString(text[i:min(i+10, len(text))]); err != nil {
			t.Fatal(err)
		}
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = e.Append(got)
		}
	}
	if string(got) != text {
		t.Errorf("read\n%s\nwant\n%s", got, text)
	}
	if r.Offset() != int64(len(text)) {
		t.Errorf("offset %d, want %d", r.Offset(), len(text))
	}
	write(t, name, history[2][0].String()) // begun anew, shorter
	if e, err := r.Next(); err != nil || e.Kind != Execute {
		t.Errorf("after the log was begun anew: %v, %v", e.Kind, err)
	}
}

// TestCrashInJSON cuts a log of the other form all over.
func TestCrashInJSON(t *testing.T) {
	var all []byte
	entry := func(seq uint64) (b []byte) {
		for _, e := range history[seq] {
			b = e.AppendJSON(b)
		}
		return b
	}
	for seq := uint64(1); seq <= last; seq++ {
		all = append(all, entry(seq)...)
	}
	const step = 7 // bytes
	for cut := 0; cut < len(all); cut += step {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "job.log"), string(all[:cut]))
		w := open(t, dir)
		for seq := uint64(1); seq <= last; seq++ {
			if err := w.AppendText(seq, entry(seq)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := content(t, dir); got != string(all) {
			t.Fatalf("cut at byte %d:\n%s\nwant\n%s", cut, got, all)
		}
	}
}

// TestContinueLog: a log that others have begun is gone on with, its end repaired, and what it has is not
// taken for something that comes again. After a crash it is, from there on.
func TestContinueLog(t *testing.T) {
	dir := t.TempDir()
	name, position := filepath.Join(dir, "job.log"), filepath.Join(dir, "position")
	write(t, name, history[1][0].String()+history[2][0].String()[:70])
	w, err := ContinueLog(name, position)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(1, history[1]...); err != nil {
		t.Fatal(err)
	}
	w.log.Close() // a crash before the entry is recorded
	if w, err = ContinueLog(name, position); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 2; seq++ {
		if err := w.Append(seq, history[seq]...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := history[1][0].String() + history[1][0].String() + history[2][0].String()
	if got := content(t, dir); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	write(t, name, "my own notes\n")
	if _, err := ContinueLog(name, filepath.Join(dir, "other")); err == nil {
		t.Error("a file that is no log was taken for one")
	}
}

// TestFailedWriteIsRepeated: an entry of which a part had been written before a crash, and which then
// finds the disk full, is still written once.
func TestFailedWriteIsRepeated(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "job.log"), history[1][0].String()+history[4][0].String())
	w := open(t, dir)
	if err := w.Append(1, history[1]...); err != nil {
		t.Fatal(err)
	}
	log := w.log
	broken, err := os.Open(filepath.Join(dir, "job.log")) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	w.log = broken
	if err := w.Append(4, history[4]...); err == nil {
		t.Fatal("a log that cannot be written was written")
	}
	w.log = log
	broken.Close()
	if err := w.Append(4, history[4]...); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := history[1][0].String() + history[4][0].String() + history[4][1].String()
	if got := content(t, dir); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// next reads events up to the end that a log has now, and counts what was no event.
func next(t *testing.T, r *Reader) (text string, bad int) {
	t.Helper()
	for {
		e, err := r.Next()
		switch {
		case err == io.EOF:
			return text, bad
		case errors.Is(err, ErrNotEvent):
			bad++
		case err != nil:
			t.Fatal(err)
		default:
			text += e.String()
		}
	}
}

func TestReaderTakesBothForms(t *testing.T) {
	name := filepath.Join(t.TempDir(), "job.log")
	var mixed []byte
	for seq := uint64(1); seq <= last; seq++ {
		for _, e := range history[seq] {
			if seq%2 == 0 {
				mixed = e.AppendJSON(mixed)
			} else {
				mixed = append(e.Append(mixed), '\n')
			}
		}
	}
	write(t, name, string(mixed))
	r, err := OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, bad := next(t, r); got != whole() || bad != 0 {
		t.Errorf("%d bad ones, and\n%s", bad, got)
	}
}

// TestReaderOfATornEvent: somebody was interrupted and somebody else wrote on.
func TestReaderOfATornEvent(t *testing.T) {
	first, second := history[1][0], history[7][0]
	for form, torn := range map[string]string{
		"text": second.String()[:60], "text, at the end of a line": strings.SplitAfter(second.String(), "\n")[0],
		"JSON": string(second.AppendJSON(nil)[:60]) + "\n", "JSON within a text": string(second.AppendJSON(nil)[:14]) + "\n",
	} {
		name := filepath.Join(t.TempDir(), "job.log")
		if form == "text" {
			torn += "\n"
		}
		write(t, name, first.String()+torn+second.String()+string(first.AppendJSON(nil)))
		r, err := OpenReader(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, bad := next(t, r); got != first.String()+second.String()+first.String() || bad != 1 {
			t.Errorf("%s: %d bad ones, and\n%s", form, bad, got)
		}
		r.Close()
	}
}

func TestReaderFollowsARotatedLog(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a file that is open keeps its name")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "job.log")
	write(t, name, history[1][0].String())
	r, err := OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, _ := next(t, r); got != history[1][0].String() {
		t.Errorf("read %s", got)
	}
	if err := os.Rename(name, name+".old"); err != nil {
		t.Fatal(err)
	}
	if got, _ := next(t, r); got != "" {
		t.Errorf("read %s of a log that is not there", got)
	}
	write(t, name, history[2][0].String())
	if got, _ := next(t, r); got != history[2][0].String() {
		t.Errorf("of the new log %q was read", got)
	}
}

func TestXMLIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "job.log")
	write(t, name, "<c>\n    <a n=\"Proc\"><i>0</i></a>\n</c>\n")
	r, err := OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = r.Next()
	var p *diag.Problem
	if !errors.As(err, &p) || p.Hint == "" {
		t.Errorf("error %v, want a problem with a hint", err)
	}
}

func TestReaderPassesOverNonsense(t *testing.T) {
	name := filepath.Join(t.TempDir(), "job.log")
	write(t, name, history[1][0].String()+"nonsense\n...\n"+history[2][0].String())
	r, err := OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var kinds []Kind
	bad := 0
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, ErrNotEvent) {
			bad++
			continue
		}
		kinds = append(kinds, e.Kind)
	}
	if bad != 1 || len(kinds) != 2 || kinds[1] != Execute {
		t.Errorf("%d errors and events %v, want one error between submit and execute", bad, kinds)
	}
}
