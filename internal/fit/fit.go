// Package fit says what an image of a running job needs of a machine that it goes on on, and compares that
// with what a machine has.
//
// The rule that governs it: an image goes on only where nothing that its processes rely on has changed under
// them. They have asked the processor what it can do, once, and have programs and libraries of the system
// mapped at addresses that they know. So the processor must have all that any processor before it had, and
// the files must be the same ones.
//
// What a job needs is told in three forms: as [Needs] in messages and events, as attributes of the job's ad,
// and as an expression over the ads of machines ([Needs.Expr]), with which jobs are matched. The package
// opens no file and asks no processor.
package fit

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// The attributes by which machines and jobs tell it.
const (
	AttrFeatures     = "CpuFeatures"           // of a machine: what its processor can do, as a list
	AttrFile         = "File_"                 // of a machine: begins the names of those for files, see [Attr]
	AttrJobFeatures  = "CheckpointCpuFeatures" // of a job with an image: [Needs.Features], as a list
	AttrJobFiles     = "CheckpointFiles"       // of a job with an image: [Needs.Files], as a list of path=ID
	AttrJobFailed    = "CheckpointFailedOn"    // of a job with an image: machines that could not restore it, as a list
	AttrRequirements = "CheckpointRequirements"
)

// Bounds of what travels in messages and stays in the log for each image, and of what an image itself says. An
// offer has two images, beside an ad that may be large.
const (
	MaxFeatures = 256
	MaxFiles    = 128
	MaxBytes    = 8 << 10 // of all names and IDs of files
	MaxWhole    = 4096    // files that an image's own description names
	maxPath     = 200
	maxName     = 32  // of a feature
	maxBeyond   = 120 // of what is said of a program
)

// Needs are what an image needs of a machine, apart from its architecture and system.
type Needs struct {
	// Features are what the processors could do that the job has run on, by the names of /proc/cpuinfo. Only
	// what programs can make use of counts, and with a baseline only what that lets them. Sorted; empty if
	// nobody knows.
	Features []string `json:"features,omitempty"`
	// Files are those of the system that the job has mapped or open, by path.
	Files []File `json:"files,omitempty"`
	// More is how many further files there are. Only the image itself names them.
	More int `json:"more,omitempty"`

	// Baseline is what the programs have kept to, as far as can be seen; "" if they have used what they found.
	Baseline Baseline `json:"baseline,omitempty"`
	// Beyond says in plain words why the programs do not keep to the baseline that was asked for; "" if they do or
	// there is none.
	Beyond string `json:"beyond,omitempty"`
}

// File is a file of the system.
type File struct {
	Path string `json:"path"` // without links in it
	ID   ID     `json:"id"`
}

// Of gives what an image needs whose job has run on processors with these features and uses these files.
func Of(features []string, files []File) Needs {
	n := Needs{Features: Union(features, nil)}
	files = slices.Clone(files)
	slices.SortFunc(files, File.compare)
	for _, f := range slices.Compact(files) {
		if len(n.Files) == MaxWhole || !plainPath(f.Path) || !f.ID.valid() {
			n.More++
			continue
		}
		n.Files = append(n.Files, f)
	}
	return n
}

func (f File) compare(g File) int {
	return cmp.Or(cmp.Compare(f.Path, g.Path), cmp.Compare(f.ID, g.ID))
}

// Check refuses needs that are out of bounds or are not written as they should be. They come from others.
func (n *Needs) Check() error {
	if len(n.Files) > MaxFiles || n.bytes() > MaxBytes {
		return fmt.Errorf("needs of an image: %d files in %d bytes, at most %d in %d are possible", len(n.Files), n.bytes(), MaxFiles, MaxBytes)
	}
	return n.CheckWhole()
}

// CheckWhole is [Needs.Check] for the description in an image, which may name more files.
func (n *Needs) CheckWhole() error {
	if len(n.Features) > MaxFeatures || len(n.Files) > MaxWhole || n.More < 0 {
		return fmt.Errorf("needs of an image: %d features of the processor, %d files and %d more", len(n.Features), len(n.Files), n.More)
	}
	if _, err := ParseBaseline(string(n.Baseline)); n.Baseline != "" && err != nil || len(n.Beyond) > maxBeyond || plainText(n.Beyond) != n.Beyond {
		return fmt.Errorf("needs of an image: baseline %.40q, and beyond it %.40q", n.Baseline, n.Beyond)
	}
	for _, f := range n.Features {
		if !isFeature(f) {
			return fmt.Errorf("needs of an image: %.40q is not a feature of a processor", f)
		}
	}
	for _, f := range n.Files {
		if !plainPath(f.Path) || !f.ID.valid() {
			return fmt.Errorf("needs of an image: file %.80q with ID %.40q", f.Path, f.ID)
		}
	}
	return nil
}

func (n *Needs) bytes() (sum int) {
	for _, f := range n.Files {
		sum += len(f.Path) + len(f.ID)
	}
	return sum
}

// Trim gives the needs in an order of their own and cut down to the bounds of [Needs.Check]. Files that can
// be told by their build IDs stay first.
func (n Needs) Trim() Needs {
	out := Needs{Features: Union(n.Features, nil), More: n.More, Baseline: n.Baseline, Beyond: plainText(n.Beyond)}
	out.Beyond = out.Beyond[:min(len(out.Beyond), maxBeyond)]
	if _, err := ParseBaseline(string(out.Baseline)); err != nil {
		out.Baseline = ""
	}
	files := slices.Clone(n.Files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Or(cmp.Compare(a.ID.kind(), b.ID.kind()), a.compare(b)) })
	files = slices.Compact(files)
	size := 0
	for _, f := range files {
		size += len(f.Path) + len(f.ID)
		if len(out.Files) == MaxFiles || size > MaxBytes || !plainPath(f.Path) || !f.ID.valid() {
			out.More++
			continue
		}
		out.Files = append(out.Files, f)
	}
	return out
}

// Union gives the features of both lists, each once, in order. Names that are none are left out.
func Union(a, b []string) []string {
	all := slices.DeleteFunc(slices.Concat(a, b), func(f string) bool { return !isFeature(f) })
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), MaxFeatures)]
}

// plainText drops what has no place in a sentence: whatever is not ASCII, quotes and backslashes.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= ' ' && r < 0x7f && r != '"' && r != '\\' {
			return r
		}
		return -1
	}, s)
}

func isFeature(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

// plainPath accepts absolute paths that can stand in lists and expressions as they are.
func plainPath(p string) bool {
	return len(p) > 1 && len(p) <= maxPath && p[0] == '/' && path.Clean(p) == p && !strings.ContainsFunc(p, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._+-@:~", r)
	})
}

// Misfit is what an image needs of a machine that the machine does not have. The zero Misfit is a fit.
type Misfit struct {
	Features []string
	Files    []File // as they ought to be
	Absent   bool   // the first of the files is not there at all
}

// On compares the needs with a machine: what its processor can do, and which files it has. id gives "" for a
// file of which nothing is known, and which is not taken for another.
func (n *Needs) On(features []string, id func(path string) ID) Misfit {
	var m Misfit
	for _, f := range n.Features {
		if !slices.Contains(features, f) {
			m.Features = append(m.Features, f)
		}
	}
	for _, f := range n.Files {
		if have := id(f.Path); have != "" && !f.ID.Fits(have) {
			if len(m.Files) == 0 {
				m.Absent = have == Absent
			}
			m.Files = append(m.Files, f)
		}
	}
	return m
}

// Paths are those of the files.
func (m Misfit) Paths() []string {
	paths := make([]string, len(m.Files))
	for i, f := range m.Files {
		paths[i] = f.Path
	}
	return paths
}

// String says it of "this machine", in one clause; "" for a fit.
func (m Misfit) String() string {
	const most = 5
	switch {
	case len(m.Features) > most:
		return fmt.Sprintf("its checkpoint was made on a processor with %s and %d more features that this machine's lacks",
			strings.Join(m.Features[:most], ", "), len(m.Features)-most)
	case len(m.Features) > 0:
		return "its checkpoint was made on a processor with " + strings.Join(m.Features, ", ") + ", which this machine's lacks"
	case len(m.Files) == 0:
		return ""
	}
	f := m.Files[0]
	text := fmt.Sprintf("this machine's %s is not the one that its checkpoint was made with (%s)", f.Path, f.ID.Words())
	if m.Absent {
		text = fmt.Sprintf("this machine has no %s, which its checkpoint needs (%s)", f.Path, f.ID.Words())
	}
	switch more := len(m.Files) - 1; {
	case more == 1:
		text += "; another file differs as well"
	case more > 1:
		text += fmt.Sprintf("; %d other files differ as well", more)
	}
	return text
}
