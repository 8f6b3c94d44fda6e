package job

import (
	"maps"
	"path"
	"slices"
	"strings"

	"skua/policy/classad"
)

// Outputs is what a description says about which outputs come back, and where to. Machine and submitter
// both follow it: what has no way is not sent, and what is sent all the same is not believed.
type Outputs struct {
	streams    map[string]string // by their files in the scratch directory, where they go; empty for nowhere
	isDeclared bool
	declared   []string
	moves      map[string]string // transfer_output_remaps, by name
	keepPaths  bool              // preserve_relative_paths
}

// OutputsOf reads Out, Err, TransferOut, TransferErr, TransferOutput, TransferOutputRemaps and
// PreserveRelativePaths.
func OutputsOf(ad *classad.Ad) Outputs {
	o := Outputs{
		streams: map[string]string{StdoutFile: streamName(ad, "Out", "TransferOut"), StderrFile: streamName(ad, "Err", "TransferErr")},
		moves:   map[string]string{},
	}
	var list string
	list, o.isDeclared = ad.Str("TransferOutput")
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.declared = append(o.declared, name)
		}
	}
	text, _ := ad.Str("TransferOutputRemaps")
	for _, r := range RemapsOf(text) {
		if !r.Malformed {
			o.moves[r.Name] = r.Place
		}
	}
	o.keepPaths, _ = ad.Bool("PreserveRelativePaths")
	return o
}

// Declared gives the names under which the declared outputs arrive, those of directories among them.
func (o Outputs) Declared() []string {
	var names []string
	for _, d := range o.declared {
		if !o.keepPaths {
			d = path.Base(d)
		}
		names = append(names, d)
	}
	return names
}

// Places gives the places of transfer_output_remaps, in no order.
func (o Outputs) Places() []string { return slices.Collect(maps.Values(o.moves)) }

// streamName is where a standard stream goes; empty means nowhere.
func streamName(ad *classad.Ad, attr, transferAttr string) string {
	if send, set := ad.Bool(transferAttr); set && !send {
		return ""
	}
	if name, _ := ad.Str(attr); name != "/dev/null" {
		return name
	}
	return ""
}

// Way is the way of an output to its submitter. The zero Way leads nowhere.
type Way struct {
	To     string // relative to the job's directory, or absolute; empty for nowhere
	Chosen bool   // the description says To of this very file
	Dir    string // the place of the directory with which it is moved; empty if it is with none
}

// Way gives the way of a file of the scratch directory. It is not ok for one that was not asked for.
func (o Outputs) Way(name string) (w Way, ok bool) {
	if to, ok := o.streams[name]; ok {
		return Way{To: to, Chosen: true}, true
	}
	to := path.Base(name)
	if o.isDeclared {
		if to, ok = o.declaredName(name); !ok {
			return Way{}, false
		}
		if o.keepPaths {
			to = name
		}
	}
	for _, n := range []string{name, to} {
		if other, ok := o.moves[n]; ok {
			return Way{To: other, Chosen: true}, true
		}
	}
	w.To, w.Dir = o.movedWithDir(to)
	if o.hidden(w.To) {
		return Way{}, true
	}
	return w, true
}

// hidden reports whether a file would arrive at the top of the job's directory under a name that begins with
// a dot and that the description does not have. In a home directory such files decide what the user's programs
// do (.bashrc, .ssh), and the name is the machine's word.
func (o Outputs) hidden(to string) bool {
	top, _, _ := strings.Cut(to, "/")
	if !strings.HasPrefix(top, ".") {
		return false
	}
	has := func(text string) bool { return slices.Contains(strings.Split(text, "/"), top) }
	for _, place := range o.moves {
		if has(place) {
			return false
		}
	}
	return !slices.ContainsFunc(o.declared, has)
}

// movedWithDir moves a file with the nearest directory around it that the description moves, and gives the
// place of that.
func (o Outputs) movedWithDir(name string) (to, dir string) {
	for d := path.Dir(name); d != "." && d != "/"; d = path.Dir(d) {
		if dir := o.moves[d]; dir != "" {
			return path.Join(dir, name[len(d):]), dir
		}
	}
	return name, ""
}

// declaredName gives the name under which a file arrives that the description asked for. As in
// HTCondor, of a declared "results/a.dat" a.dat arrives, of a declared directory "results" what is in it
// arrives below results, and of "results/" without it.
func (o Outputs) declaredName(name string) (string, bool) {
	for _, d := range o.declared {
		clean := path.Clean(d)
		if clean == name {
			return path.Base(name), true
		}
		if rest, ok := strings.CutPrefix(name, clean+"/"); ok {
			if strings.HasSuffix(d, "/") {
				return rest, true
			}
			return path.Join(path.Base(clean), rest), true
		}
	}
	return "", false
}

// Remap says where an output is to go: a part of transfer_output_remaps.
type Remap struct {
	Text        string // as written
	Name, Place string
	Malformed   bool // it has no equals sign
}

// RemapsOf reads the value of transfer_output_remaps: "name = place; name = place", in which a backslash takes
// the meaning from the character after it. Empty parts are left out.
func RemapsOf(text string) []Remap {
	var all []Remap
	var name, word strings.Builder
	from, inPlace := 0, false
	end := func(to int) {
		if part := text[from:to]; strings.TrimSpace(part) != "" {
			r := Remap{Text: part, Name: strings.TrimSpace(name.String()), Place: strings.TrimSpace(word.String())}
			if !inPlace {
				r = Remap{Text: part, Name: r.Place, Malformed: true}
			}
			all = append(all, r)
		}
		name.Reset()
		word.Reset()
		from, inPlace = to+1, false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`;=\`, text[i+1]) >= 0:
			i++
			word.WriteByte(text[i])
		case c == ';':
			end(i)
		case c == '=' && !inPlace:
			name.WriteString(word.String())
			word.Reset()
			inPlace = true
		default:
			word.WriteByte(c)
		}
	}
	end(len(text))
	return all
}
