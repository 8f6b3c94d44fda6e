package startd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"skua/agent/starter"
	"skua/agent/walk"
	"skua/internal/diag"
	"skua/internal/job"
)

// Bounds of what a job may bring back.
const (
	maxOutputs = 1000
	maxEntries = 10 * maxOutputs // files, directories and what is neither, in directories that it declared
)

// stageOut stores what the job leaves: its standard streams, and the files that it declared or, if it
// declared none, every file that is new or changed in the top of its scratch directory. What has no way to its
// submitter stays.
func (t *tenant) stageOut(ctx context.Context, scratch string, exit starter.Exit) ([]job.File, error) {
	root, err := os.OpenRoot(scratch)
	if err != nil {
		return nil, fmt.Errorf("bring out files: %w", err)
	}
	defer root.Close()
	names := t.streams(root)
	// A job that works in a shared file system has its files there.
	tr := t.cmd.Transfers
	if t.cmd.Dir == "" && (!tr.OnSuccess || exit.Signal == 0 && exit.Code == tr.SuccessExit) {
		if names, err = t.outputs(root, names, exit); err != nil {
			return nil, err
		}
	}
	return t.storeOutputs(ctx, root, names)
}

// bringStreams stores the standard streams of a job that is held, as far as there are any: what its user
// will want to see first.
func (t *tenant) bringStreams(ctx context.Context, in Init) []job.File {
	if in == nil {
		return nil
	}
	root, err := os.OpenRoot(in.Scratch())
	if err != nil {
		t.log.Warn("bring out the standard streams", diag.KeyError, err)
		return nil
	}
	defer root.Close()
	var files []job.File
	err = t.insist(ctx, func() (err error) {
		files, err = t.storeOutputs(ctx, root, t.streams(root))
		return err
	})
	if err != nil {
		t.log.Warn("bring out the standard streams", diag.KeyError, err)
		return nil
	}
	return files
}

// streams names the standard streams that there are and that are to come back.
func (t *tenant) streams(root *os.Root) []string {
	var names []string
	for _, s := range []struct {
		name string
		back bool
	}{{job.StdoutFile, t.cmd.Transfers.Out}, {job.StderrFile, t.cmd.Transfers.Err && t.cmd.Stderr != job.StdoutFile}} {
		if fi, err := root.Lstat(s.name); s.back && err == nil && fi.Mode().IsRegular() {
			names = append(names, s.name)
		}
	}
	return names
}

func (t *tenant) storeOutputs(ctx context.Context, root *os.Root, names []string) ([]job.File, error) {
	var files []job.File
	room := inlineMost
	for _, name := range names {
		f, err := t.storeOutput(ctx, root, name, room)
		if err != nil {
			return nil, fmt.Errorf("bring out file %s: %w", name, err)
		}
		room -= len(f.Inline)
		files = append(files, f)
	}
	for _, f := range files {
		t.moved(0, f.Size)
	}
	return files, nil
}

// outputs adds the job's outputs to the names of its standard streams.
func (t *tenant) outputs(root *os.Root, names []string, exit starter.Exit) ([]string, error) {
	streams := len(names)
	description := job.OutputsOf(t.offer.Ad)
	stays := func(name string) bool {
		w, _ := description.Way(name)
		return w.To == ""
	}
	var err error
	if list, ok := t.offer.Ad.Str("TransferOutput"); ok {
		names, err = declaredOutputs(root, names, strings.Split(list, ","), stays, exit, t.unchangedProgram(root))
	} else {
		names, err = t.newFiles(root, names, stays)
	}
	if err != nil {
		return nil, err
	}
	return names, t.checkOutputSize(root, names[streams:])
}

// checkOutputSize holds a job that makes more than it says it does at most.
func (t *tenant) checkOutputSize(root *os.Root, names []string) error {
	if t.cmd.Transfers.MaxOut < 0 {
		return nil
	}
	var sum int64
	for _, name := range names {
		fi, err := root.Stat(name)
		if err != nil {
			return fmt.Errorf("bring out file %s: %w", name, err)
		}
		sum += fi.Size()
	}
	if sum > t.cmd.Transfers.MaxOut {
		return &holdError{code: job.HoldOutputTooLarge, reason: fmt.Sprintf(
			"the job's outputs are %s, and its max_transfer_output_mb allows %s", size(sum), size(t.cmd.Transfers.MaxOut))}
	}
	return nil
}

// newFiles adds the files that are new or changed and do not stay.
func (t *tenant) newFiles(root *os.Root, names []string, stays func(name string) bool) ([]string, error) {
	streams := []string{job.StdoutFile, job.StderrFile}
	have := len(names)
	err := walk.Entries(root, ".", func(e fs.DirEntry) error {
		if !e.Type().IsRegular() || slices.Contains(streams, e.Name()) || strings.HasPrefix(e.Name(), "_condor_") || isAdFile(e.Name()) || stays(e.Name()) {
			return nil
		}
		if fi, err := e.Info(); err != nil || t.unchangedInput(e.Name(), fi) {
			return nil
		}
		if names = append(names, e.Name()); len(names) > maxOutputs {
			return &holdError{code: job.HoldTransferOutput, reason: fmt.Sprintf(
				"the job made more than the %d files that come back at most: name those you want in transfer_output_files", maxOutputs)}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("bring out files: %w", err)
	}
	slices.Sort(names[have:])
	return names, nil
}

// declaredOutputs adds the files that the job declared to names. Of a directory these are the plain
// files in it, at any depth, that do not stay; links in it are not followed. If one is missing, exit, how the job ended, tells
// why; program is nothing that it made.
func declaredOutputs(root *os.Root, names, declared []string, stays func(name string) bool, exit starter.Exit, program string) ([]string, error) {
	have := map[string]bool{}
	for _, name := range names {
		have[name] = true
	}
	seen := 0
	for _, top := range declared {
		top = path.Clean(strings.TrimSpace(top))
		if top == "." {
			continue
		}
		add := func(name string) error {
			if !have[name] && !stays(name) {
				have[name] = true
				names = append(names, name)
			}
			if len(names) > maxOutputs {
				return tooManyDeclared(top)
			}
			return nil
		}
		before := len(names)
		fi, err := root.Stat(top)
		switch {
		case err == nil && fi.Mode().IsRegular():
			err = add(top)
		case err == nil && fi.IsDir():
			err = walk.Tree(root, top, func(name string, e fs.DirEntry, err error) error {
				if seen++; seen > maxEntries {
					return tooManyDeclared(top)
				}
				if err != nil {
					return &holdError{code: job.HoldTransferOutput, reason: fmt.Sprintf("the output directory %s cannot be read: %v", name, err)}
				}
				if !e.Type().IsRegular() {
					return nil
				}
				return add(name)
			})
			slices.Sort(names[before:])
		default:
			err = &holdError{code: job.HoldTransferOutput, subcode: errnoNoEntry, reason: notMade(top, exit) + "; it left " + whatIsThere(root, program)}
			if exit.Code != 0 || exit.Signal != 0 {
				err.(*holdError).exit = &exit
			}
		}
		if err != nil {
			return nil, fmt.Errorf("bring out %s: %w", top, err)
		}
	}
	return names, nil
}

// notMade says that a declared output is missing, and how the job ended if that may be why.
func notMade(output string, exit starter.Exit) string {
	switch {
	case exit.Signal != 0:
		return fmt.Sprintf("the program was ended by signal %d and had not made %s", exit.Signal, output)
	case exit.Code != 0:
		return fmt.Sprintf("the program ended with exit code %d and had not made %s", exit.Code, output)
	}
	return fmt.Sprintf("the job declared the output %s and did not make it", output)
}

// unchangedProgram is the file of the job's program, if that was sent with it and is as it was; else "".
func (t *tenant) unchangedProgram(root *os.Root) string {
	if len(t.cmd.Argv) == 0 {
		return ""
	}
	name := path.Clean(t.cmd.Argv[0])
	if fi, err := root.Lstat(name); err != nil || !t.unchangedInput(name, fi) {
		return ""
	}
	return name
}

// errnoNoEntry is ENOENT, which HTCondor gives as the subcode of a missing output.
const errnoNoEntry = 2

func tooManyDeclared(top string) error {
	return &holdError{code: job.HoldTransferOutput, reason: fmt.Sprintf(
		"with what is in %s the job's outputs are more than %d files: have the job pack them into an archive", top, maxOutputs)}
}

// whatIsThere lists some of the files in the top of the scratch directory, all but one.
func whatIsThere(root *os.Root, but string) string {
	const most = 10
	var names []string
	err := walk.Entries(root, ".", func(e fs.DirEntry) error {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, "_condor_") || strings.HasPrefix(name, ".skua-") || isAdFile(name) || name == but:
			return nil
		case len(names) == maxEntries:
			return errTooMany
		case e.IsDir():
			name += "/"
		}
		names = append(names, name)
		return nil
	})
	than := ""
	switch {
	case errors.Is(err, errTooMany):
		than = "more than "
	case err != nil:
		return "a directory that cannot be read: " + err.Error()
	}
	slices.Sort(names)
	switch more := len(names) - most; {
	case len(names) == 0:
		return "no files"
	case more > 0:
		return fmt.Sprintf("%s and %s%d more", strings.Join(names[:most], ", "), than, more)
	}
	return strings.Join(names, ", ")
}

// unchangedInput reports whether a file is an input that the job left as it was. Inputs are written
// with a modification time long past, so that a touch shows.
func (t *tenant) unchangedInput(name string, fi fs.FileInfo) bool {
	for _, in := range t.offer.Inputs {
		if in.Name == name {
			return fi.Size() == in.Size && !fi.ModTime().After(inputTime)
		}
	}
	return false
}

// inputTime is the modification time of staged inputs.
var inputTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// inlineMost is how many bytes of a job's outputs travel in its report. Most jobs that are short say little, and
// need no file service then.
const inlineMost = 2 << 10

// storeOutput stores an output, or takes it along if it is no larger than room.
func (t *tenant) storeOutput(ctx context.Context, root *os.Root, name string, room int) (job.File, error) {
	f, err := root.Open(name)
	if err != nil {
		return job.File{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return job.File{}, err
	}
	mode := uint32(fi.Mode().Perm())
	if fi.Size() <= int64(room) {
		text, err := io.ReadAll(io.LimitReader(f, fi.Size())) // nobody writes to it any more, or who does is late
		if err != nil {
			return job.File{}, err
		}
		return job.File{Name: name, Inline: text, Size: int64(len(text)), Mode: mode}, nil
	}
	_, write := t.capabilities()
	defer t.moving()()
	digest, size, err := t.k.d.cfg.Files.Store(ctx, write, f)
	if err != nil {
		return job.File{}, err
	}
	return job.File{Name: name, Digest: digest, Size: size, Mode: mode}, nil
}
