package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"skua/internal/blob"
	"skua/internal/diag"
	"skua/internal/job"
	"skua/internal/submitfile"
	"skua/internal/transfer"
	"skua/internal/wire"
	"skua/policy/classad"
)

// inputs are the files of a submission, by what is in them.
type inputs struct {
	procs   [][]input
	content map[string]*content // by path on this machine
	pool    poolRuntimes
	left    []string // links to directories that are left out
}

// input is a file as one job gets it.
type input struct {
	name string // in the scratch directory; that of an empty directory ends in a slash
	from *content
	exec bool // it is the program
}

// content is a file on this machine, or one that the pool has.
type content struct {
	path   string
	digest blob.Digest
	size   int64
	mode   fs.FileMode
	small  []byte // all of it, when it may travel inline
	data   []byte // all of it, when it is no file
	there  bool   // the pool has it: it is neither read nor sent
}

// gather finds and reads what the jobs need. runtimes is asked for the runtime roots that the pool has.
func gather(ctx context.Context, s *submitfile.Submission, runtimes func(context.Context) ([]wire.RuntimeRow, error)) (*inputs, error) {
	in := &inputs{
		content: map[string]*content{}, procs: make([][]input, len(s.Procs)),
		pool: poolRuntimes{ask: runtimes, named: s.Runtimes, found: map[string]*content{}},
	}
	var last wanted
	for i, p := range s.Procs {
		want := wantedBy(p)
		if i > 0 && want.is(last) {
			in.procs[i] = in.procs[i-1]
			continue
		}
		list, err := in.ofProc(ctx, p, want)
		if err != nil {
			return nil, err
		}
		in.procs[i], last = list, want
	}
	slices.Sort(in.left)
	for _, link := range slices.Compact(in.left) {
		s.Notes = append(s.Notes, fmt.Sprintf("%s is a link to a directory, and is not sent: name it in transfer_input_files", link))
	}
	return in, nil
}

// wanted is all that a job's inputs depend on.
type wanted struct {
	iwd, cmd           string
	sendProgram, paths bool
	names              []string
	runtime            string // archive of the job's runtime root, or which of the pool's it is; "" for none
}

func wantedBy(p submitfile.Proc) wanted {
	w := wanted{names: p.Inputs}
	w.iwd, _ = p.Ad.Str("Iwd")
	w.cmd, _ = p.Ad.Str("Cmd")
	send, set := p.Ad.Bool("TransferExecutable")
	w.sendProgram = send || !set
	w.paths, _ = p.Ad.Bool("PreserveRelativePaths")
	w.runtime, _ = p.Ad.Str("RuntimeRoot")
	return w
}

func (w wanted) is(o wanted) bool {
	return w.iwd == o.iwd && w.cmd == o.cmd && w.sendProgram == o.sendProgram && w.paths == o.paths && w.runtime == o.runtime && slices.Equal(w.names, o.names)
}

func (in *inputs) ofProc(ctx context.Context, p submitfile.Proc, want wanted) ([]input, error) {
	iwd, cmd, names := want.iwd, want.cmd, want.names
	var list []input
	if want.runtime != "" {
		from, err := in.runtime(ctx, want.runtime)
		if err != nil {
			return nil, err
		}
		list = append(list, input{job.RuntimeFile, from, false})
	}
	if len(names) > 0 && want.sendProgram {
		// The program stands first. Its name is relative to where the user is, those of the others to
		// the job's directory.
		if cmd != "" && path.Base(filepath.ToSlash(names[0])) == path.Base(filepath.ToSlash(cmd)) {
			from, err := in.read(ctx, cmd)
			if err != nil {
				return nil, err
			}
			list = append(list, input{path.Base(filepath.ToSlash(cmd)), from, true})
			names = names[1:]
		}
	}
	for _, name := range names {
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(iwd, full)
		}
		to := path.Base(filepath.ToSlash(filepath.Clean(name)))
		if want.paths && filepath.IsLocal(name) {
			to = filepath.ToSlash(filepath.Clean(name))
		}
		if strings.HasSuffix(name, "/") || to == "." {
			to = "" // what is in the directory, not the directory
		}
		more, err := in.add(ctx, full, to)
		if err != nil {
			return nil, err
		}
		if list = append(list, more...); len(list) > job.MaxInputs {
			return nil, &diag.Problem{
				What: fmt.Sprintf("job %d brings more than %d input files", p.ID.Proc, job.MaxInputs),
				Hint: "pack them into an archive and have the job unpack it",
			}
		}
	}
	return unique(list)
}

// runtime gives the archive of a runtime root: a file, or one that the pool has.
func (in *inputs) runtime(ctx context.Context, root string) (*content, error) {
	if name, ok := strings.CutPrefix(root, job.PoolRuntime); ok {
		return in.pool.get(ctx, name)
	}
	return in.read(ctx, root)
}

// add gives the file at full, or the files below it, under the name to.
func (in *inputs) add(ctx context.Context, full, to string) ([]input, error) {
	if c := in.content[full]; c != nil && to != "" {
		return []input{{to, c, false}}, nil
	}
	st, err := os.Stat(full)
	if err != nil {
		return nil, unreadable(full, err)
	}
	if !st.IsDir() {
		if to == "" {
			to = filepath.Base(full)
		}
		c, err := in.read(ctx, full)
		return []input{{to, c, false}}, err
	}
	entries, err := os.ReadDir(full)
	if err != nil {
		return nil, unreadable(full, err)
	}
	if len(entries) == 0 && to != "" {
		return []input{{to + "/", &content{path: full, mode: st.Mode().Perm()}, false}}, nil
	}
	var list []input
	for _, e := range entries {
		if name := filepath.Join(full, e.Name()); linkToDir(name, e) { // it may go round in a circle
			in.left = append(in.left, name)
			continue
		}
		more, err := in.add(ctx, filepath.Join(full, e.Name()), path.Join(to, e.Name()))
		if err != nil {
			return nil, err
		}
		if list = append(list, more...); len(list) > job.MaxInputs {
			break // whoever asked refuses it
		}
	}
	return list, nil
}

func linkToDir(name string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return false
	}
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// read takes the digest of a file, once.
func (in *inputs) read(ctx context.Context, full string) (*content, error) {
	if c := in.content[full]; c != nil {
		return c, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(full)
	if err != nil {
		return nil, unreadable(full, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, unreadable(full, err)
	}
	if !st.Mode().IsRegular() {
		return nil, unreadable(full, errors.New("it is not a plain file"))
	}
	c := &content{path: full, mode: st.Mode().Perm()}
	if st.Size() <= job.MaxInline {
		if c.small, err = os.ReadFile(full); err != nil {
			return nil, unreadable(full, err)
		}
		c.digest, c.size = blob.Sum(c.small), int64(len(c.small))
	} else if c.digest, c.size, err = blob.SumReader(f); err != nil {
		return nil, unreadable(full, err)
	}
	in.content[full] = c
	return c, nil
}

func unreadable(name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &diag.Problem{What: fmt.Sprintf("input file %s: %v", name, err), Err: err}
}

// unique refuses two different files under one name. The same one twice is one.
func unique(list []input) ([]input, error) {
	seen := map[string]input{}
	out := list[:0]
	for _, i := range list {
		name, _ := job.File{Name: i.name}.Dir()
		old, have := seen[name]
		if have && (old.from.digest != i.from.digest || old.name != i.name) {
			return nil, &diag.Problem{
				What: fmt.Sprintf("two input files are both called %s where the job runs: %s and %s", name, old.from.path, i.from.path),
				Hint: "rename one of them, or add a line: preserve_relative_paths = true",
			}
		}
		if !have {
			seen[name] = i
			out = append(out, i)
		}
	}
	return out, nil
}

// lists gives the files as a submit carries them, the small ones inside when inline is set.
func (in *inputs) lists(inline bool) [][]job.File {
	lists := make([][]job.File, len(in.procs))
	for i, proc := range in.procs {
		if i > 0 && sameList(proc, in.procs[i-1]) {
			lists[i] = lists[i-1]
			continue
		}
		lists[i] = make([]job.File, len(proc))
		for k, f := range proc {
			lists[i][k] = f.file(inline)
		}
	}
	return sameLists(lists)
}

// small is the size of all different files that may travel inline.
func (in *inputs) small() int64 {
	var sum int64
	for _, c := range in.content {
		if c.small != nil {
			sum += c.size
		}
	}
	return sum
}

func (i input) file(inline bool) job.File {
	f := job.File{Name: i.name, Size: i.from.size, Mode: uint32(i.from.mode)}
	if i.exec {
		f.Mode |= 0o111 // a program that was copied from Windows or unpacked is often not executable
	}
	if inline && !i.from.there && i.from.size <= job.MaxInline {
		f.Inline = i.from.small
	} else {
		f.Digest = i.from.digest
	}
	return f
}

// missing gives the contents that the lists only name, each once.
func (in *inputs) missing(lists [][]job.File) []*content {
	named := map[blob.Digest]bool{}
	for _, list := range lists {
		for _, f := range list {
			if f.Digest != "" {
				named[f.Digest] = true
			}
		}
	}
	var out []*content
	for _, c := range in.content {
		if named[c.digest] {
			out = append(out, c)
			delete(named, c.digest)
		}
	}
	return out
}

// upload brings contents to the file service.
func (c *Client) upload(ctx context.Context, contents []*content, progress transfer.Progress) error {
	if len(contents) == 0 {
		return nil
	}
	pass := &pass{client: c, query: wire.Query{Kind: wire.QueryUpload}}
	files, err := c.fileService()
	if err != nil {
		return err
	}
	var done, total int64
	for _, x := range contents {
		total += x.size
	}
	for _, x := range contents {
		var tell transfer.Progress
		if progress != nil {
			tell = func(n, _ int64) { progress(done+n, total) }
		}
		err := pass.use(ctx, func(capability string) error { return put(ctx, files, capability, x, tell) })
		if err != nil {
			return err
		}
		done += x.size
	}
	return nil
}

func put(ctx context.Context, files Files, capability string, x *content, progress transfer.Progress) error {
	if x.data != nil {
		if err := files.Put(ctx, capability, x.digest, x.size, bytes.NewReader(x.data), progress); err != nil {
			return fmt.Errorf("upload %s: %w", x.path, err)
		}
		return nil
	}
	f, err := os.Open(x.path)
	if err != nil {
		return unreadable(x.path, err)
	}
	defer f.Close()
	err = files.Put(ctx, capability, x.digest, x.size, f, progress)
	if errors.Is(err, blob.ErrMismatch) {
		return &diag.Problem{What: fmt.Sprintf("input file %s changes while it is uploaded", x.path), Hint: "submit again when it is finished", Err: err}
	}
	if err != nil {
		return fmt.Errorf("upload %s: %w", x.path, err)
	}
	return nil
}

func (c *Client) fileService() (Files, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	if c.files != nil {
		return c.files, nil
	}
	if c.cfg.Files == nil {
		return nil, errors.New("this client cannot move files")
	}
	files, err := c.cfg.Files()
	c.files = files
	return files, err
}

// Submitted says whether ad was submitted from the host with that id.
func Submitted(ad *classad.Ad, host string) bool {
	at, ok := ad.Str(SubmitHost)
	return ok && at == host
}
