package probe

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"skua/internal/fit"
	"skua/policy/classad"
)

// SystemFiles knows the files of the system that images of jobs rely on: which ones there are, and what tells
// them from others of the same name. It tells those that most jobs rely on and those that somebody has asked
// for. A file is read when it has changed, and otherwise only looked at.
type SystemFiles struct {
	Budget int // bytes that Set may add to an ad; 0 for no such bound

	mu    sync.Mutex
	known map[string]knownFile // by path; guarded by mu, as all below
	usual []string             // paths, without links in them; nil before they have been looked for
	asked []string             // others, the one last that was asked for last
}

// knownFile is what a file was when it was looked at.
type knownFile struct {
	stamp fileStamp
	id    fit.ID
}

// fileStamp changes when a file does.
type fileStamp struct {
	size          int64
	modified      time.Time
	device, inode uint64
	changed       time.Duration // of the inode, since 1970
}

// Bounds. Each file is an attribute of each slot's ad.
const (
	mostUsual  = 48
	mostAsked  = 64
	mostNotes  = 64 << 10  // bytes of an ELF file's notes
	mostDigest = 512 << 20 // bytes of a file that is read as a whole
)

// usualFiles are patterns of what most programs are linked with or run by, in usualDirs.
var (
	usualFiles = []string{
		"ld-linux*.so.*", "ld-musl-*.so.*", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libstdc++.so.6", "libgcc_s.so.1",
		"libgomp.so.1", "libgfortran.so.5", "libz.so.1", "libtinfo.so.6", "libcrypto.so.3", "libpython3.*.so.1.0", "libperl.so.5.*",
	}
	usualDirs = []string{
		"/lib/*-linux-*", "/usr/lib/*-linux-*", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
	}
	usualPrograms = []string{
		"/bin/sh", "/bin/bash", "/usr/bin/python3", "/usr/bin/perl",
		"/usr/lib/R/bin/exec/R", "/usr/lib/R/lib/libR.so", "/usr/lib64/R/bin/exec/R", "/usr/lib64/R/lib/libR.so",
	}
)

// ID tells what a file is; [fit.Absent] if there is none. Only if whole is true a file without a build ID is
// read, which may take a while; otherwise just its size is told, unless it has been read before.
func (s *SystemFiles) ID(path string, whole bool) fit.ID {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "" // who knows
		}
		return fit.Absent
	}
	if st.Mode().Perm()&0o004 == 0 {
		return "" // no job can read it, so nobody is told of what is in it
	}
	stamp := stampOf(st)
	s.mu.Lock()
	known, ok := s.known[path]
	s.mu.Unlock()
	if ok && known.stamp == stamp && (!whole || !known.id.Unread()) {
		return known.id
	}
	id, err := identify(path, st.Size(), whole)
	if err != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) > 4*(mostUsual+mostAsked+fit.MaxFiles) {
		s.known = map[string]knownFile{}
	}
	s.known[path] = knownFile{stamp, id}
	return id
}

// Ask has files told from now on, and reports whether some of them were not told so far. Those that nobody has
// asked for lately make room for them.
func (s *SystemFiles) Ask(paths []string) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	usual := s.findUsual()
	for _, p := range paths {
		if slices.Contains(usual, p) {
			continue
		}
		if i := slices.Index(s.asked, p); i >= 0 {
			s.asked = slices.Delete(s.asked, i, i+1)
		} else {
			news = true
		}
		s.asked = append(s.asked, p)
	}
	if more := len(s.asked) - mostAsked; more > 0 {
		s.asked = slices.Delete(s.asked, 0, more)
	}
	return news
}

// Set tells them in an ad: the usual ones, and of the others those first that were asked for last.
func (s *SystemFiles) Set(ad *classad.Ad) {
	s.mu.Lock()
	asked := slices.Clone(s.asked)
	slices.Reverse(asked)
	paths := slices.Concat(s.findUsual(), asked)
	s.mu.Unlock()
	left := s.Budget
	for _, p := range paths {
		id := s.ID(p, false)
		if id == "" || id.Unread() {
			continue
		}
		name := fit.Attr(p)
		if left -= len(name) + len(id); s.Budget > 0 && left < 0 {
			return
		}
		ad.SetString(name, string(id))
	}
}

// findUsual looks for the usual files once. A system that is given others later is one whose agent is asked for
// them. It is called with mu held.
func (s *SystemFiles) findUsual() []string {
	if s.usual != nil {
		return s.usual
	}
	var dirs []string
	for _, pattern := range usualDirs {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, dir := range found {
			if real, err := filepath.EvalSymlinks(dir); err == nil && !slices.Contains(dirs, real) {
				dirs = append(dirs, real)
			}
		}
	}
	all := []string{}
	add := func(path string) {
		real, err := filepath.EvalSymlinks(path)
		if err == nil && !slices.Contains(all, real) && len(all) < mostUsual {
			all = append(all, real)
		}
	}
	for _, dir := range dirs {
		for _, name := range filesOf(dir) {
			if slices.ContainsFunc(usualFiles, func(pattern string) bool { ok, _ := filepath.Match(pattern, name); return ok }) {
				add(filepath.Join(dir, name))
			}
		}
	}
	for _, path := range usualPrograms {
		add(path)
	}
	s.usual = all
	return all
}

// filesOf lists a directory in order; one that cannot be read has no files.
func filesOf(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	slices.Sort(names)
	return names
}

// identify reads what tells a file from others.
func identify(path string, size int64, whole bool) (fit.ID, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if id := buildID(f); len(id) > 0 {
		return fit.Built(id, size), nil
	}
	if !whole || size > mostDigest {
		return fit.Unread(size), nil
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(f, 0, mostDigest))
	if err != nil {
		return "", err
	}
	return fit.Digested([32]byte(sum.Sum(nil)), n), nil
}

// buildID reads the build ID of an executable or a library; nil for another file, or one that has none.
func buildID(r io.ReaderAt) []byte {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(p.Open(), mostNotes))
		if err != nil {
			return nil
		}
		if id := buildIDNote(notes, f.ByteOrder, max(p.Align, 4)); id != nil {
			return id
		}
	}
	return nil
}

// buildIDNote finds the build ID among notes. Each is its name's length, its content's, a type, the name and
// the content, these two filled up to the alignment.
func buildIDNote(notes []byte, order binary.ByteOrder, align uint64) []byte {
	const head, gnuBuildID = 12, 3 // NT_GNU_BUILD_ID
	if align != 8 {
		align = 4
	}
	padded := func(n uint32) uint64 { return (uint64(n) + align - 1) &^ (align - 1) }
	for len(notes) >= head {
		name, desc, kind := order.Uint32(notes), order.Uint32(notes[4:]), order.Uint32(notes[8:])
		at := (head + uint64(name) + align - 1) &^ (align - 1)
		end := at + padded(desc)
		if at+uint64(desc) > uint64(len(notes)) {
			return nil
		}
		if kind == gnuBuildID && string(notes[head:head+uint64(name)]) == "GNU\x00" {
			return slices.Clone(notes[at : at+uint64(desc)])
		}
		notes = notes[min(end, uint64(len(notes))):]
	}
	return nil
}
