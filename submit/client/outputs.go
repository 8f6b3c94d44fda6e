package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
)

// Fetch brings the outputs of a job that has completed, or the streams of one that is held, to where its description
// wants them or, when dir is not empty, into that directory, which is made. Each file appears whole and durably, or not at all; what was there
// under the name is replaced, and is not loaded again if it is the same. It gives the paths. A download that was cut
// goes on where it was the next time. What the matchmaker does not have any more keeps nothing else back; the error is
// then [blob.ErrNotFound].
// progress may be nil.
func (c *Client) Fetch(ctx context.Context, id job.ID, dir string, progress transfer.Progress) ([]string, error) {
	places, pass, err := c.places(ctx, id, dir)
	if err != nil {
		return nil, err
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
	var there []string
	var missing, homeless error // the first that the matchmaker does not have any more, and that has no place here
	for _, p := range places {
		mode, err := p.prepare()
		if err != nil {
			homeless = cmp.Or(homeless, p.called(id, err))
			continue
		}
		err = p.fetch(ctx, files, pass, mode, progress)
		switch {
		case errors.Is(err, blob.ErrNotFound):
			missing = cmp.Or(missing, p.called(id, err))
		case err != nil:
			return there, p.called(id, err)
		default:
			there = append(there, p.path)
		}
	}
	return there, cmp.Or(homeless, missing)
}

// Misplaced says why one of a job's outputs cannot be put where its description wants it; nil if that is not to be seen.
func (c *Client) Misplaced(ctx context.Context, id job.ID) error {
	places, _, err := c.places(ctx, id, "")
	if err != nil {
		return nil
	}
	for _, p := range places {
		if _, err := p.prepare(); err != nil {
			return p.called(id, err)
		}
	}
	return nil
}

// places asks what outputs a job has, and gives where they go and the pass with which they are fetched.
func (c *Client) places(ctx context.Context, id job.ID, dir string) ([]place, *pass, error) {
	asked := time.Now()
	res, err := c.query(ctx, wire.Query{Kind: wire.QueryFetch, Select: wire.Selection{Jobs: []job.ID{id}}})
	if err != nil {
		return nil, nil, err
	}
	if len(res.Rows) == 0 {
		return nil, nil, &diag.Problem{
			What: fmt.Sprintf("job %v has no outputs to fetch", id),
			Hint: "only a job of which a run has come to its end, or that is held after one, has; \"skua q\" and \"skua history\" say how it is",
			Err:  ErrNoOutputs,
		}
	}
	var row wire.JobRow
	if err := json.Unmarshal(res.Rows[0], &row); err != nil {
		return nil, nil, fmt.Errorf("read the outputs of job %v: %w", id, err)
	}
	places, err := placesOf(row.Ad, row.Outputs, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("outputs of job %v: %w", id, err)
	}
	return places, &pass{client: c, query: wire.Query{Kind: wire.QueryFetch, Select: noJobs}, capability: res.Capability, asked: asked}, nil
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
// description names those it wants, none outside of the job's directory, and none that is hidden.
func placesOf(ad *classad.Ad, outputs []job.File, dir string) ([]place, error) {
	iwd, _ := ad.Str("Iwd")
	moved := dir != "" // then everything goes below dir, whatever the description says
	if !moved {
		dir = iwd
	}
	if dir == "" || !moved && !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("the job has no initial directory (Iwd = %q)", iwd)
	}
	description := job.OutputsOf(ad)
	var places []place
	taken, outside := map[string]string{}, []int{} // what goes where, if all goes below dir; those that would go elsewhere
	for _, f := range outputs {
		if !fs.ValidPath(f.Name) || f.Name == "." || !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return nil, fmt.Errorf("the name %q leaves the job's directory", f.Name)
		}
		w, asked := description.Way(f.Name)
		switch {
		case !asked:
			return nil, fmt.Errorf("%s was not asked for", f.Name)
		case w.To == "" || w.To == os.DevNull:
			continue // nowhere; if the name is hidden, a job may have made it without thinking: no reason to keep the others back
		}
		p := place{file: f, path: filepath.FromSlash(w.To), base: dir}
		switch {
		case moved && !filepath.IsLocal(p.path):
			outside = append(outside, len(places))
		case !filepath.IsAbs(p.path):
			p.path = filepath.Join(dir, p.path)
		}
		taken[p.path] = p.path
		switch {
		case moved:
		case w.Chosen:
			p.base = filepath.Dir(p.path) // the user has named a directory, which is there or is a mistake
		case w.Dir != "":
			p.base = filepath.Dir(filepath.FromSlash(w.Dir)) // this one is made, and what it is in is there
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

// MovedInto gives the directories into which a description moves outputs and that must be there before any come, each
// with one of the files. Those that are made because outputs go there, too, are not among them.
func MovedInto(ad *classad.Ad) map[string]string {
	description := job.OutputsOf(ad)
	moves := description.Places()
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
	for _, to := range slices.Concat(description.Declared(), moves) {
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

// called says of which output an error is.
func (p place) called(id job.ID, err error) error {
	return fmt.Errorf("output %s of job %v: %w", p.file.Name, id, err)
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
		return 0, unwritable(dir, err)
	}
	return mode | fs.FileMode(p.file.Mode)&0o111&(mode>>2), nil // executable for those who may read it
}

// fetch makes the file in a place that is prepared.
func (p place) fetch(ctx context.Context, files Files, pass *pass, mode fs.FileMode, progress transfer.Progress) error {
	if p.file.Digest != "" {
		if p.filled(mode) {
			return nil
		}
		return pass.use(ctx, func(capability string) error {
			_, err := files.GetFile(ctx, capability, p.file.Digest, p.path, mode, progress)
			return err
		})
	}
	if int64(len(p.file.Inline)) != p.file.Size {
		return errors.New("it came without its content")
	}
	return writeDurably(p.path, p.file.Inline, mode)
}

// filled says that the file is in its place, durably and with that mode: an earlier fetch may have been cut after it.
func (p place) filled(mode fs.FileMode) bool {
	at, err := os.Lstat(p.path)
	if err != nil || !at.Mode().IsRegular() || at.Size() != p.file.Size {
		return false
	}
	f, err := os.OpenFile(p.path, os.O_RDWR, 0) // to write, as some systems want it for Sync
	if err != nil {
		return false
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !os.SameFile(at, st) {
		return false
	}
	d, _, err := blob.SumReader(f)
	return err == nil && d == p.file.Digest && errors.Join(f.Chmod(mode), f.Sync()) == nil
}

func missingDir(dir string, err error) error {
	return &diag.Problem{
		What: fmt.Sprintf("the directory %s is not there", dir),
		Hint: "make it, and \"skua fetch JOB\" brings outputs at once; with --dir DIR it brings them elsewhere", Err: err,
	}
}

// unwritable leaves out the name of the file that could not be made, which is another one each time.
func unwritable(dir string, err error) error {
	var why *fs.PathError
	if !errors.As(err, &why) {
		return err
	}
	return &diag.Problem{
		What: fmt.Sprintf("no file can be made in %s: %v", dir, why.Err),
		Hint: "when that is mended \"skua fetch JOB\" brings outputs at once; with --dir DIR it brings them elsewhere", Err: err,
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
