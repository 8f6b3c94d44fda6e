package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
)

// Fetch brings the outputs of a job that has completed, or the streams of one that is held, to where its description
// wants them or, when dir is not empty, into that directory, which is made. Each file appears whole and durably, or not at all; what was there
// under the name is replaced. It gives the paths written. A download that was cut goes on where it was the
// next time. What the matchmaker does not have any more keeps nothing else back; the error is then [blob.ErrNotFound].
// progress may be nil.
func (c *Client) Fetch(ctx context.Context, id job.ID, dir string, progress transfer.Progress) ([]string, error) {
	res, err := c.query(ctx, wire.Query{Kind: wire.QueryFetch, Select: wire.Selection{Jobs: []job.ID{id}}})
	if err != nil {
		return nil, err
	}
	if len(res.Rows) == 0 {
		return nil, &diag.Problem{
			What: fmt.Sprintf("job %v has no outputs to fetch", id),
			Hint: "only a job of which a run has come to its end, or that is held after one, has; \"skua q\" and \"skua history\" say how it is",
			Err:  ErrNoOutputs,
		}
	}
	var row wire.JobRow
	if err := json.Unmarshal(res.Rows[0], &row); err != nil {
		return nil, fmt.Errorf("read the outputs of job %v: %w", id, err)
	}
	places, err := placesOf(row.Ad, row.Outputs, dir)
	if err != nil {
		return nil, fmt.Errorf("outputs of job %v: %w", id, err)
	}
	var files Files
	if len(places) > 0 {
		if dir != "" {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return nil, err
			}
		}
		if files, err = c.fileService(); err != nil {
			return nil, err
		}
	}
	var written []string
	var missing, homeless error // the first that the matchmaker does not have any more, and that has no place here
	for _, p := range places {
		called := func(err error) error { return fmt.Errorf("output %s of job %v: %w", p.file.Name, id, err) }
		mode, err := p.prepare()
		if err != nil {
			homeless = cmp.Or(homeless, called(err))
			continue
		}
		err = p.fetch(ctx, files, res.Capability, mode, progress)
		switch {
		case errors.Is(err, blob.ErrNotFound):
			missing = cmp.Or(missing, called(err))
		case err != nil:
			return written, called(err)
		default:
			written = append(written, p.path)
		}
	}
	return written, cmp.Or(homeless, missing)
}

// ErrNoOutputs says that the matchmaker has nothing of a job to fetch, and will not get it by itself.
var ErrNoOutputs = errors.New("no outputs")

// place is where a file goes. Directories below base are made, since the job made them; base itself is
// not.
type place struct {
	file job.File
	base string
	path string
}

// placesOf says where a job's outputs go. The names come from the machine where the job ran, which is
// believed only as far as the description: it cannot bring files that were not asked for when the
// description names those it wants, none outside of the job's directory, and none that is [hidden].
func placesOf(ad *classad.Ad, outputs []job.File, dir string) ([]place, error) {
	iwd, _ := ad.Str("Iwd")
	moved := dir != "" // then everything goes below dir, whatever the description says
	if !moved {
		dir = iwd
	}
	if dir == "" || !moved && !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("the job has no initial directory (Iwd = %q)", iwd)
	}
	remap := remaps(ad)
	declared, isDeclared := declaredOutputs(ad)
	var places []place
	taken, outside := map[string]string{}, []int{} // what goes where, if all goes below dir; those that would go elsewhere
	for _, f := range outputs {
		if !fs.ValidPath(f.Name) || f.Name == "." || !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return nil, fmt.Errorf("the name %q leaves the job's directory", f.Name)
		}
		to, named := outputName(ad, f.Name, declared, isDeclared, remap)
		moves, inDir := "", false
		if !named {
			to, moves, inDir = remappedDir(to, remap)
		}
		switch {
		case to == "" && named:
			continue // nowhere
		case to == "":
			return nil, fmt.Errorf("%s was not asked for", f.Name)
		case !named && hidden(to, declared, remap):
			continue // a job may have made it without thinking: no reason to keep the others back
		}
		p := place{file: f, path: filepath.FromSlash(to), base: dir}
		switch {
		case moved && !filepath.IsLocal(p.path):
			outside = append(outside, len(places))
		case !filepath.IsAbs(p.path):
			p.path = filepath.Join(dir, p.path)
		}
		taken[p.path] = p.path
		switch {
		case moved:
		case named:
			p.base = filepath.Dir(p.path) // the user has named a directory, which is there or is a mistake
		case inDir:
			p.base = filepath.Dir(filepath.FromSlash(moves)) // this one is made, and what it is in is there
			if !filepath.IsAbs(p.base) {
				p.base = filepath.Join(dir, p.base)
			}
		}
		places = append(places, p)
	}
	for _, i := range outside {
		was := places[i].path
		name := apart(was, func(name string) bool {
			by, ok := taken[filepath.Join(dir, name)]
			return ok && by != was
		})
		places[i].path = filepath.Join(dir, name)
		taken[places[i].path] = was
	}
	return places, nil
}

// apart gives a file that would be outside a name inside: its own, and with the directories around it joined to that
// by hyphens as far as is needed to keep it apart from others.
func apart(file string, taken func(name string) bool) string {
	name := filepath.Base(file)
	for dir := filepath.Dir(file); taken(name); dir = filepath.Dir(dir) {
		name = strings.Trim(filepath.Base(dir), `./\`) + "-" + name
	}
	return name
}

// outputName gives the name under which an output arrives, relative to the job's directory or absolute, and
// whether the description chose it. An empty name means nowhere when it was chosen, and otherwise that
// the file was not asked for.
func outputName(ad *classad.Ad, name string, declared []string, isDeclared bool, remap map[string]string) (to string, named bool) {
	switch name {
	case job.StdoutFile:
		return streamName(ad, "Out", "TransferOut"), true
	case job.StderrFile:
		return streamName(ad, "Err", "TransferErr"), true
	}
	to = path.Base(name)
	if isDeclared {
		var ok bool
		if to, ok = declaredName(name, declared); !ok {
			return "", false
		}
		if keep, _ := ad.Bool("PreserveRelativePaths"); keep {
			to = name
		}
	}
	if other, ok := remap[name]; ok {
		return other, true
	}
	if other, ok := remap[to]; ok {
		return other, true
	}
	return to, false
}

// hidden reports whether a file would arrive at the top of the job's directory under a name that begins with
// a dot and that the description does not have. In a home directory such files decide what the user's programs
// do (.bashrc, .ssh), and the name is the machine's word.
func hidden(to string, declared []string, remap map[string]string) bool {
	top, _, _ := strings.Cut(to, "/")
	has := func(text string) bool { return slices.Contains(strings.Split(filepath.ToSlash(text), "/"), top) }
	return strings.HasPrefix(top, ".") &&
		!slices.ContainsFunc(declared, has) && !slices.ContainsFunc(slices.Collect(maps.Values(remap)), has)
}

// remappedDir moves a file with the nearest directory around it that the description moves, and gives the
// place of that.
func remappedDir(name string, remap map[string]string) (to, dir string, ok bool) {
	for d := path.Dir(name); d != "." && d != "/"; d = path.Dir(d) {
		if dir, ok = remap[d]; ok && dir != "" {
			return path.Join(dir, name[len(d):]), dir, true
		}
	}
	return name, "", false
}

// streamName is where a standard stream goes; empty means nowhere.
func streamName(ad *classad.Ad, attr, transferAttr string) string {
	if send, set := ad.Bool(transferAttr); set && !send {
		return ""
	}
	name, _ := ad.Str(attr)
	if name == os.DevNull || name == "/dev/null" {
		return ""
	}
	return name
}

func declaredOutputs(ad *classad.Ad) ([]string, bool) {
	list, ok := ad.Str("TransferOutput")
	if !ok {
		return nil, false
	}
	var names []string
	for _, n := range strings.Split(list, ",") {
		if n = strings.TrimSpace(n); n != "" {
			names = append(names, n)
		}
	}
	return names, true
}

// declaredName gives the name under which a file arrives that the description asked for. As in
// HTCondor, of a declared "results/a.dat" a.dat arrives, of a declared directory "results" what is in it
// arrives below results, and of "results/" without it.
func declaredName(name string, declared []string) (string, bool) {
	for _, d := range declared {
		clean := path.Clean(filepath.ToSlash(d))
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

// MovedInto gives the directories into which a description moves outputs and that must be there before any come, each
// with one of the files. Those that are made because outputs go there, too, are not among them.
func MovedInto(ad *classad.Ad) map[string]string {
	moves := remaps(ad)
	iwd, _ := ad.Str("Iwd")
	if len(moves) == 0 || !filepath.IsAbs(iwd) {
		return nil
	}
	absolute := func(name string) string {
		if name = filepath.FromSlash(name); filepath.IsAbs(name) {
			return filepath.Clean(name)
		}
		return filepath.Join(iwd, name)
	}
	var made []string
	declared, _ := declaredOutputs(ad)
	for _, d := range declared {
		if keep, _ := ad.Bool("PreserveRelativePaths"); !keep {
			d = path.Base(d)
		}
		made = append(made, absolute(d))
	}
	for _, to := range moves {
		made = append(made, absolute(to))
	}
	into := map[string]string{}
	for _, to := range moves {
		if to == "" || strings.Contains(to, "://") {
			continue
		}
		dir := filepath.Dir(absolute(to))
		below := func(d string) bool { rel, err := filepath.Rel(d, dir); return err == nil && filepath.IsLocal(rel) }
		if dir != iwd && !slices.ContainsFunc(made, below) {
			into[dir] = to
		}
	}
	return into
}

// remaps reads transfer_output_remaps: "name = place; name = place", in which a backslash takes the
// meaning from the character after it.
func remaps(ad *classad.Ad) map[string]string {
	text, _ := ad.Str("TransferOutputRemaps")
	out := map[string]string{}
	var name, word strings.Builder
	inPlace := false
	end := func() {
		if inPlace {
			out[strings.TrimSpace(name.String())] = strings.TrimSpace(word.String())
		}
		name.Reset()
		word.Reset()
		inPlace = false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`;=\`, text[i+1]) >= 0:
			i++
			word.WriteByte(text[i])
		case c == ';':
			end()
		case c == '=' && !inPlace:
			name.WriteString(word.String())
			word.Reset()
			inPlace = true
		default:
			word.WriteByte(c)
		}
	}
	end()
	return out
}

// prepare makes the directories that the file is to be in, and gives the mode that it gets there. Its errors are about
// this place and no other.
func (p place) prepare() (mode fs.FileMode, err error) {
	dir := filepath.Dir(p.path)
	if rel, err := filepath.Rel(p.base, dir); err == nil && filepath.IsLocal(rel) && rel != "." {
		if _, err := os.Stat(p.base); err != nil {
			return 0, missingDir(p.base, err)
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return 0, err
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return 0, missingDir(dir, err)
	}
	if st, err := os.Stat(p.path); err == nil && !st.Mode().IsRegular() {
		return 0, &diag.Problem{What: fmt.Sprintf("%s is there and is not a plain file", p.path), Hint: "move it away, or fetch into another directory with --dir"}
	}
	if mode, err = ordinaryMode(dir); err != nil {
		return 0, err
	}
	return mode | fs.FileMode(p.file.Mode)&0o111&(mode>>2), nil // executable for those who may read it
}

// fetch makes the file in a place that is prepared.
func (p place) fetch(ctx context.Context, files Files, capability string, mode fs.FileMode, progress transfer.Progress) error {
	if p.file.Digest != "" {
		_, err := files.GetFile(ctx, capability, p.file.Digest, p.path, mode, progress)
		return err
	}
	if int64(len(p.file.Inline)) != p.file.Size {
		return errors.New("it came without its content")
	}
	return writeDurably(p.path, p.file.Inline, mode)
}

func missingDir(dir string, err error) error {
	return &diag.Problem{
		What: fmt.Sprintf("the directory %s is not there", dir),
		Hint: "make it; \"skua fetch JOB --dir DIR\" brings outputs elsewhere", Err: err,
	}
}

// writeDurably makes a file all at once. Until then it has a name that nobody can have put a link at.
func writeDurably(name string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".skua.*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// ordinaryMode is the mode that a new file gets in dir: what the umask and the directory's default ACL
// leave of rw-rw-rw-. To make one is the only way of asking that is right for both.
func ordinaryMode(dir string) (fs.FileMode, error) {
	name := filepath.Join(dir, ".skua."+rand.Text())
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return 0, err
	}
	st, err := f.Stat()
	err = errors.Join(err, f.Close(), os.Remove(name))
	if err != nil {
		return 0, err
	}
	return st.Mode().Perm(), nil
}
