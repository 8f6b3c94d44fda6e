package history

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skua/internal/job"
	"skua/policy/classad"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// entry is a job of cluster n that was done with by event 10n; ann has the even ones, bob the odd ones.
func entry(n int) *Entry {
	ad := classad.NewAd()
	ad.SetInt("ClusterId", int64(n))
	ad.SetString("Cmd", "sim \"a\"\nb")
	user := job.UserID("ann")
	if n%2 == 1 {
		user = "bob of 7"
	}
	return NewEntry(uint64(10*n), &job.Job{ID: job.ID{Cluster: n}, User: user, State: job.Completed, Ad: ad, Ended: noon.Add(time.Duration(n) * time.Second), Delivered: n%3 == 0})
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func add(t *testing.T, s *Store, from, upto int) {
	t.Helper()
	var all []*Entry
	for n := from; n < upto; n++ {
		all = append(all, entry(n))
	}
	if err := s.Add(all...); err != nil {
		t.Fatal(err)
	}
}

// clusters gives the clusters that a query shows.
func clusters(t *testing.T, s *Store, q Query) []int {
	t.Helper()
	var got []int
	for {
		next, err := s.Walk(t.Context(), q, func(e *Entry) bool {
			got = append(got, e.ID.Cluster)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if next == 0 {
			return got
		}
		q.Before = next
	}
}

func down(from, to, step int) []int {
	var all []int
	for n := from; n >= to; n -= step {
		all = append(all, n)
	}
	return all
}

func TestWhatIsAddedIsFound(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxFile: 4000}
	s := open(t, cfg)
	add(t, s, 1, 60)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	if s.Last() != 590 {
		t.Fatalf("the last entry is %d, want 590", s.Last())
	}
	add(t, s, 50, 101) // 50 to 59 are there
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*"+suffix))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v: they should be rotated", len(files), err)
	}
	for _, tt := range []struct {
		name string
		q    Query
		want []int
	}{
		{"all", Query{}, down(100, 1, 1)},
		{"before", Query{Before: 500}, down(49, 1, 1)},
		{"ann's", Query{User: "ann"}, down(100, 2, 2)},
		{"bob's", Query{User: "bob of 7", Before: 60}, []int{5, 3, 1}},
		{"some", Query{Clusters: []int{3, 4}, Jobs: []job.ID{{Cluster: 77}, {Cluster: 78, Proc: 1}}}, []int{77, 4, 3}},
		{"one", Query{Jobs: []job.ID{{Cluster: 5}}}, []int{5}},
		{"none", Query{Clusters: []int{1000}}, nil},
	} {
		for _, s := range []*Store{s, open(t, cfg)} {
			if got := clusters(t, s, tt.q); !slices.Equal(got, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
	}
	want := entry(9)
	_, err = s.Walk(t.Context(), Query{Jobs: []job.ID{{Cluster: 9}}}, func(e *Entry) bool {
		ad, err := e.Ad()
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != want.Seq || e.User != want.User || !e.Ended.Equal(want.Ended) || !e.Delivered || ad.String() != want.ad.String() {
			t.Errorf("got %+v\n%s\nwant %+v\n%s", e, ad, want, want.ad)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A crash may cut the last file anywhere. What is whole stays, and what was lost is added again.
func TestTornEnd(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	add(t, s, 1, 5)
	s.Close()
	path := filepath.Join(dir, fmt.Sprintf("%020d%s", 10, suffix))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		for _, rest := range []string{"", "\x00\x00\x00", "\n"} {
			if err := os.WriteFile(path, append(slices.Clone(whole[:n]), rest...), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, Config{Dir: dir})
			if want := uint64(10 * bytes.Count(whole[:n], []byte("\n"))); s.Last() != want && !(rest == "\n" && s.Last() == want+10) {
				t.Fatalf("cut at %d: the last entry is %d, want %d", n, s.Last(), want)
			}
			add(t, s, 1, 5)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if n > 0 && (err != nil || !bytes.Equal(got, whole)) {
				t.Fatalf("cut at %d: %v, mended to %d bytes of %d", n, err, len(got), len(whole))
			}
		}
	}
}

func TestDamagedLineIsPassedOver(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxFile: 3000}
	s := open(t, cfg)
	add(t, s, 1, 31)
	s.Close()
	path := filepath.Join(cfg.Dir, fmt.Sprintf("%020d%s", 10, suffix))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte(" 2.0 "))
	data[i+20] ^= 4
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := clusters(t, open(t, cfg), Query{Before: 60}), []int{5, 4, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A file that cannot be put on disk for a while is closed when it can be, and the next one begun.
func TestFileThatIsNotOnDiskYet(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxFile: 1}
	s := open(t, cfg)
	add(t, s, 1, 2)
	whole, before := s.tail, slices.Clone(s.files)
	var err error
	if s.tail, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil { // it takes all, and cannot be synced
		t.Fatal(err)
	}
	defer s.tail.Close()
	if s.tail.Sync() == nil {
		t.Skip("here it can be")
	}
	for range 2 {
		if err := s.Add(entry(2)); err == nil || errors.Is(err, os.ErrClosed) {
			t.Errorf("an entry is taken with %v", err)
		}
	}
	if got, want := s.files[0].bytes, before[0].bytes+int64(len(closing(before[0].clusters))); got != want {
		t.Errorf("the file has %d bytes, want %d: it ends with one closing line", got, want)
	}
	s.tail, s.files = whole, before
	add(t, s, 2, 4)
	if got := clusters(t, s, Query{}); !slices.Equal(got, down(3, 1, 1)) {
		t.Errorf("got %v, want 3 to 1", got)
	}
}

func TestTrim(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), MaxFile: 3000, MaxBytes: 9000}
	s := open(t, cfg)
	add(t, s, 1, 101)
	kept := clusters(t, s, Query{})
	if len(kept) == 0 || len(kept) > 60 || !slices.Equal(kept, down(100, 101-len(kept), 1)) {
		t.Errorf("of 100 jobs in more bytes than may be kept %v are left", kept)
	}
	if err := s.trim(time.Now().Add(400 * 24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(cfg.Dir, "*"+suffix)); len(files) != 1 {
		t.Errorf("after more than a year %d files are left, want the one that is written to", len(files))
	}
	add(t, s, 101, 102)
}

func FuzzParse(f *testing.F) {
	for n := range 3 {
		line, err := entry(n + 1).append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.TrimSuffix(string(line), "\n"))
	}
	f.Add(string(bytes.TrimSpace(closing(span{1, 2}))))
	f.Fuzz(func(t *testing.T, content string) {
		for _, line := range [][]byte{[]byte(content), bytes.TrimSuffix(seal(nil, []byte(content)), []byte("\n"))} {
			parseClosing(line)
			e, err := parse(line)
			if err != nil {
				continue
			}
			if _, err := e.Ad(); err != nil {
				continue
			}
			again, err := e.append(nil)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := parse(bytes.TrimSuffix(again, []byte("\n")))
			if err != nil || twice.Seq != e.Seq || twice.ID != e.ID || twice.User != e.User || !twice.Ended.Equal(e.Ended) {
				t.Errorf("%q came back as %q, %v", line, again, err)
			}
		}
	})
}
