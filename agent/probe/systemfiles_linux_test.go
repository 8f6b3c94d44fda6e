package probe

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"skua/internal/fit"
	"skua/policy/classad"
)

// mappedLibc is the C library as the kernel names it to programs that have it mapped.
func mappedLibc(t *testing.T) string {
	t.Helper()
	maps, err := exec.Command("cat", "/proc/self/maps").Output()
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(maps)) {
		if path := line[strings.LastIndexByte(line, ' ')+1:]; strings.HasSuffix(path, "/libc.so.6\n") {
			return strings.TrimSpace(path)
		}
	}
	t.Skip("cat is not linked with glibc")
	return ""
}

// The C library is told under the name by which jobs have it mapped, with the build ID that the system's own
// tools see.
func TestUsualFiles(t *testing.T) {
	libc := mappedLibc(t)
	var s SystemFiles
	ad := classad.NewAd()
	s.Set(ad)
	got, ok := ad.Str(fit.Attr(libc))
	if !ok {
		t.Fatalf("%s is not among %v", libc, ad.Names())
	}
	st, err := os.Stat(libc)
	if err != nil {
		t.Fatal(err)
	}
	id, size, _ := strings.Cut(got, "/")
	if size != fmt.Sprint(st.Size()) || len(id) != 16 {
		t.Errorf("%s is %s, its size %d", libc, got, st.Size())
	}
	if out, err := exec.Command("readelf", "-n", libc).Output(); err == nil && !strings.Contains(string(out), "Build ID: "+id) {
		t.Errorf("%s is %s, and readelf says\n%s", libc, got, out)
	}
	if s.Ask([]string{libc}) {
		t.Error("a usual file is news")
	}
}

// On a machine with many slots the ads have room for some of the files only: the usual ones come first.
func TestFilesWithinBudget(t *testing.T) {
	libc := mappedLibc(t)
	s := SystemFiles{Budget: 1000}
	s.Ask([]string{filepath.Join(t.TempDir(), "of-a-checkpoint")})
	ad := classad.NewAd()
	s.Set(ad)
	size := 0
	for _, name := range ad.Names() {
		id, _ := ad.Str(name)
		size += len(name) + len(id)
	}
	if _, ok := ad.Str(fit.Attr(libc)); !ok || size > s.Budget || size < s.Budget/2 {
		t.Errorf("in %d bytes there are %v", size, ad.Names())
	}
}

func TestFileIDs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data")
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chmod(path, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var s SystemFiles
	ask := func(whole bool, want fit.ID) {
		t.Helper()
		if got := s.ID(path, whole); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
	told := func(want string) {
		t.Helper()
		ad := classad.NewAd()
		s.Set(ad)
		if got, _ := ad.Str(fit.Attr(path)); got != want {
			t.Errorf("the ad says %q, want %q", got, want)
		}
	}
	ask(true, fit.Absent)
	told("")
	if !s.Ask([]string{path}) || s.Ask([]string{path}) {
		t.Error("it is not news once")
	}
	told("absent")
	write("one")
	one := fit.Digested(sha256.Sum256([]byte("one")), 3)
	ask(false, fit.Unread(3))
	told("") // not before somebody needs it
	ask(true, one)
	ask(false, one)
	told(string(one))
	os.Remove(path) // so that the inode is another one, whatever the clock says
	write("two")
	ask(false, fit.Unread(3))
	ask(true, fit.Digested(sha256.Sum256([]byte("two")), 3))
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	ask(true, "") // jobs cannot read it, whoever else can
	told("")
	for i := range mostAsked {
		s.Ask([]string{filepath.Join(dir, fmt.Sprint(i))})
	}
	told("")
}

func TestBuildIDNote(t *testing.T) {
	note := func(name string, kind uint32, desc string) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(len(name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
		b = binary.LittleEndian.AppendUint32(b, kind)
		pad := func(s string) []byte { return append([]byte(s), make([]byte, (4-len(s)%4)%4)...) }
		return append(append(b, pad(name)...), pad(desc)...)
	}
	want := "0123456789abcdefghij"
	for _, tt := range []struct {
		name  string
		notes []byte
		want  string
	}{
		{"alone", note("GNU\x00", 3, want), want},
		{"after others", bytes.Join([][]byte{note("GNU\x00", 1, "abi"), note("stapsdt\x00", 3, "odd"), note("GNU\x00", 3, want)}, nil), want},
		{"none", note("GNU\x00", 1, "abi"), ""},
		{"cut", note("GNU\x00", 3, want)[:30], ""},
		{"a length out of bounds", append([]byte{4, 0, 0, 0, 255, 255, 255, 255, 3, 0, 0, 0}, "GNU\x00"...), ""},
		{"a name out of bounds", []byte{255, 255, 255, 255, 0, 0, 0, 0, 3, 0, 0, 0}, ""},
		{"empty", nil, ""},
	} {
		if got := buildIDNote(tt.notes, binary.LittleEndian, 4); string(got) != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzBuildIDNote(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00GNU\x00ab\x00\x00"), uint64(4))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 3, 0, 0, 0}, uint64(8))
	f.Fuzz(func(t *testing.T, notes []byte, align uint64) {
		if id := buildIDNote(notes, binary.LittleEndian, align); len(id) > len(notes) {
			t.Errorf("%x in %x", id, notes)
		}
	})
}
