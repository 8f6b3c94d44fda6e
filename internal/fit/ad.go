package fit

import (
	"slices"
	"strconv"
	"strings"
)

// Attr names the attribute by which a machine tells the ID of one of its files: File_ and the path, with _ for
// whatever cannot stand in a name. A machine on which nobody has asked for a file has none.
func Attr(path string) string {
	return AttrFile + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.TrimPrefix(path, "/"))
}

// Expr gives the needs as an expression that is true of the ads of machines that have them, in the ad of a job
// with [AttrJobFeatures]; "" if there are none. A machine that does not say what its processor can do is no
// fit. One that does not say which file it has may be: its agent looks before it takes the job, and says
// so from then on.
func (n *Needs) Expr() string {
	var parts []string
	if len(n.Features) > 0 {
		parts = append(parts, "stringListSubsetMatch(MY."+AttrJobFeatures+", TARGET."+AttrFeatures+")")
	}
	for _, f := range n.Files {
		if f.ID.Unread() {
			continue // machines tell no such ID
		}
		id := strconv.Quote(string(f.ID))
		parts = append(parts, "(TARGET."+Attr(f.Path)+" ?: "+id+") == "+id)
	}
	return strings.Join(parts, " && ")
}

// FeatureList gives features as ads have them.
func FeatureList(features []string) string { return strings.Join(features, ",") }

// FileList gives the files as the job's ad has them.
func (n *Needs) FileList() string {
	var list strings.Builder
	for i, f := range n.Files {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(f.Path)
		list.WriteByte('=')
		list.WriteString(string(f.ID))
	}
	return list.String()
}

// ParseFeatures reads what FeatureList wrote, or another list with commas or blanks.
func ParseFeatures(list string) []string {
	return Union(strings.FieldsFunc(list, separates), nil)
}

// ParseFiles reads what FileList wrote. What is not written as it should be is left out.
func ParseFiles(list string) []File {
	var files []File
	for _, item := range strings.FieldsFunc(list, separates) {
		at := strings.LastIndexByte(item, '=')
		if at < 0 {
			continue
		}
		f := File{item[:at], ID(item[at+1:])}
		if plainPath(f.Path) && f.ID.valid() && len(files) < MaxFiles {
			files = append(files, f)
		}
	}
	return files
}

func separates(r rune) bool { return r == ',' || r == ' ' }

// Equal reports whether both say the same.
func (n *Needs) Equal(m *Needs) bool {
	if n == nil || m == nil {
		return n == m
	}
	return slices.Equal(n.Features, m.Features) && slices.Equal(n.Files, m.Files) && n.More == m.More &&
		n.Baseline == m.Baseline && n.Beyond == m.Beyond
}
